/** The other end: calls methods of the daemon's services over its unix socket. */
import { type CallOptions, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { CairnError } from '../base/errors.ts';
import type { AnyMethod, Method } from './method.ts';
import { errorOfStatus } from './status.ts';
import { unixSocketPath } from './unix-socket.ts';

const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

export interface RpcClientOptions {
  /** `unix:///path`. */
  readonly address: string;
}

export interface RpcCallOptions {
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/** Failures are `CairnError`s of the kind that the status says; `Unavailable` when nobody listens. */
export interface RpcClient extends Disposable {
  call<Request, RequestInput, Response, ResponseInput>(
    method: Method<Request, RequestInput, Response, ResponseInput, false>,
    request: RequestInput,
    options?: RpcCallOptions,
  ): Promise<Response>;
  /** Ending the iteration early cancels the call. */
  stream<Request, RequestInput, Response, ResponseInput>(
    method: Method<Request, RequestInput, Response, ResponseInput, true>,
    request: RequestInput,
    options?: RpcCallOptions,
  ): AsyncGenerator<Response, void, undefined>;
}

/** Connects with the first call. */
export function createRpcClient({ address }: RpcClientOptions): RpcClient {
  const client = new Client(`unix:${unixSocketPath(address)}`, credentials.createInsecure(), {
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
    'grpc.enable_channelz': 0,
    // The socket's path is no host name.
    'grpc.default_authority': 'localhost',
  });
  return {
    call: (method, request, options = {}) =>
      new Promise((resolve, reject) => {
        const call = client.makeUnaryRequest(
          method.path,
          (message: typeof request) => method.encodeRequest(message),
          (bytes) => method.decodeResponse(bytes),
          request,
          new Metadata(),
          callOptions(options),
          (error, response) => {
            options.signal?.removeEventListener('abort', cancel);
            if (error) reject(failure(method, error));
            else if (response === undefined) reject(new CairnError('Internal', `${method.name}: an empty answer`));
            else resolve(response);
          },
        );
        const cancel = () => call.cancel();
        onAbort(options.signal, cancel);
      }),
    stream: async function* (method, request, options = {}) {
      const call = client.makeServerStreamRequest(
        method.path,
        (message: typeof request) => method.encodeRequest(message),
        (bytes) => method.decodeResponse(bytes),
        request,
        new Metadata(),
        callOptions(options),
      );
      const cancel = () => call.cancel();
      onAbort(options.signal, cancel);
      try {
        yield* call;
      } catch (error) {
        throw failure(method, error as ServiceError);
      } finally {
        options.signal?.removeEventListener('abort', cancel);
        call.on('error', () => undefined);
        call.cancel();
      }
    },
    [Symbol.dispose]: () => client.close(),
  };
}

function callOptions({ timeoutMs }: RpcCallOptions): CallOptions {
  return timeoutMs === undefined ? {} : { deadline: Date.now() + timeoutMs };
}

function onAbort(signal: AbortSignal | undefined, cancel: () => void): void {
  if (signal?.aborted) cancel();
  else signal?.addEventListener('abort', cancel, { once: true });
}

function failure(method: AnyMethod, error: ServiceError): CairnError {
  return errorOfStatus(error.code, error.details ?? error.message, `rpc.${method.name}`, error);
}
