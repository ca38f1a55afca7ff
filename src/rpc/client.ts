/** A typed client of the services that deploy/build/generate.ts describes, over a daemon's unix socket. */
import { Client, type ClientOptions, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { CairnError, type ErrorKind } from '../base/errors.ts';
import type { AnyMethod, Method, RequestInputOf, ResponseOf } from './method.ts';

const MESSAGE_BYTES_MAX = 16 << 20;

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds until the call ends with DeadlineExceeded; none by default. */
  readonly timeoutMs?: number;
}

export class RpcClient implements Disposable {
  readonly #client: Client;
  readonly #socket: string;

  constructor(socketPath: string, options: ClientOptions = {}) {
    this.#socket = socketPath;
    this.#client = new Client(`unix://${socketPath}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
      // A daemon that is being restarted is tried again soon.
      'grpc.initial_reconnect_backoff_ms': 100,
      'grpc.max_reconnect_backoff_ms': 1000,
      ...options,
    });
  }

  /** One request, one answer. Throws a CairnError with the kind of the gRPC code. */
  call<M extends Method<never, never, unknown, never, false>>(
    method: M,
    request: RequestInputOf<M>,
    options: CallOptions = {},
  ): Promise<ResponseOf<M>> {
    const { path, encode, decode } = wire(method as unknown as AnyMethod);
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, response?: unknown) => {
        options.signal?.removeEventListener('abort', cancel);
        if (error) reject(this.#explain(error));
        else resolve(response as ResponseOf<M>);
      };
      const call = this.#client.makeUnaryRequest(
        path,
        encode,
        decode,
        request,
        new Metadata(),
        deadline(options),
        done,
      );
      const cancel = () => call.cancel();
      if (options.signal?.aborted) cancel();
      else options.signal?.addEventListener('abort', cancel, { once: true });
    });
  }

  /** One request, a stream of answers. Leaving the loop cancels the call. */
  async *stream<M extends Method<never, never, unknown, never, true>>(
    method: M,
    request: RequestInputOf<M>,
    options: CallOptions = {},
  ): AsyncGenerator<ResponseOf<M>, void> {
    const { path, encode, decode } = wire(method as unknown as AnyMethod);
    const call = this.#client.makeServerStreamRequest(path, encode, decode, request, new Metadata(), deadline(options));
    const cancel = () => call.cancel();
    options.signal?.addEventListener('abort', cancel, { once: true });
    try {
      for await (const response of call) yield response as ResponseOf<M>;
    } catch (error) {
      throw this.#explain(error as ServiceError);
    } finally {
      options.signal?.removeEventListener('abort', cancel);
      call.cancel();
    }
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }

  #explain(error: ServiceError): CairnError {
    if (error.code === status.UNAVAILABLE && /connect|socket/i.test(error.details)) {
      return new CairnError('Unavailable', `cairnd does not answer at ${this.#socket}: ${error.details}`, {
        cause: error,
      });
    }
    return new CairnError(kindOf(error.code), error.details, { cause: error });
  }
}

function wire(method: AnyMethod) {
  return {
    path: method.path,
    encode: (message: unknown) => method.encodeRequest(message as never),
    decode: (bytes: Buffer) => method.decodeResponse(bytes),
  };
}

function deadline({ timeoutMs }: CallOptions) {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

/** gRPC's code names are ours in another spelling: NOT_FOUND is NotFound. */
function kindOf(code: status): ErrorKind {
  const words = (status[code] ?? 'UNKNOWN').toLowerCase().split('_');
  return words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('') as ErrorKind;
}
