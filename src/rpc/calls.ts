/** The calls under way: runs a handler for each, with its signal, its log line and its place in the metrics. */
import type {
  Server as Http2GrpcServer,
  ServerUnaryCall,
  ServerWritableStream,
  sendUnaryData,
  UntypedHandleCall,
} from '@grpc/grpc-js';
import { CairnError, isCairnError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { series } from '../base/metrics.ts';
import type { CallContext, ErasedHandler, Service } from './handlers.ts';
import type { AnyMethod } from './method.ts';
import { OK, type RpcStatus, statusOfError } from './status.ts';

/** What unary calls and streams have in common. */
interface GrpcCall {
  on(event: 'cancelled', listener: () => void): unknown;
  getDeadline(): Date | number;
}
type Subject = Service['subject'];

/** A client's own timer may fire this much before ours: its cancellation then still is the deadline's. */
const DEADLINE_SLACK_MS = 20;

class RunningCall {
  readonly #startedAt = performance.now();
  readonly controller = new AbortController();
  readonly method: AnyMethod;
  readonly requestId: string;

  constructor(method: AnyMethod, requestId: string) {
    this.method = method;
    this.requestId = requestId;
  }

  get durationMs(): number {
    return performance.now() - this.#startedAt;
  }
}

export class RunningCalls {
  readonly #log: Logger;
  readonly #calls = new Set<RunningCall>();
  #whenIdle: (() => void) | undefined;
  #refusal: CairnError | undefined;
  #lastId = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  register(server: Http2GrpcServer, method: AnyMethod, handler: ErasedHandler | undefined, subject: Subject): void {
    const run = handler ?? unimplemented(method);
    const unary = (call: ServerUnaryCall<object, object>, answer: sendUnaryData<object>) => {
      void this.#answer(method, run, subject, call, answer);
    };
    const stream = (call: ServerWritableStream<object, object>) => {
      void this.#stream(method, run, subject, call);
    };
    server.register(
      method.path,
      (method.responseStream ? stream : unary) as UntypedHandleCall,
      method.encodeResponse as (message: object) => Buffer,
      method.decodeRequest,
      method.responseStream ? 'serverStream' : 'unary',
    );
  }

  /** From now on every new call fails with `reason`. */
  refuse(reason: CairnError): void {
    this.#refusal = reason;
  }

  cancelStreams(reason: CairnError): void {
    for (const call of this.#calls) if (call.method.responseStream) call.controller.abort(reason);
  }

  cancelAll(reason: CairnError): void {
    for (const call of this.#calls) call.controller.abort(reason);
  }

  /** Waits until no call runs, at most so long; returns what still does, as `method (request ID)`. */
  async settled(timeoutMs: number): Promise<string[]> {
    if (this.#calls.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#whenIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#whenIdle = undefined;
    }
    return [...this.#calls].map((call) => `${call.method.name} (${call.requestId})`);
  }

  async #answer(
    method: AnyMethod,
    handler: ErasedHandler,
    subject: Subject,
    call: ServerUnaryCall<object, object>,
    answer: sendUnaryData<object>,
  ): Promise<void> {
    const running = this.#begin(method, call);
    try {
      const response = (await this.#run(running, handler, call.request)) as object;
      answer(null, response);
      this.#end(running, OK, subject, call.request);
    } catch (thrown) {
      const error = failureOf(thrown, running);
      const status = statusOfError(error, running.requestId);
      answer({ code: status.code, details: status.details });
      this.#end(running, status, subject, call.request, error);
    }
  }

  async #stream(
    method: AnyMethod,
    handler: ErasedHandler,
    subject: Subject,
    call: ServerWritableStream<object, object>,
  ): Promise<void> {
    const running = this.#begin(method, call);
    // A stream that the peer reset reports that as an error as well; the signal has said it already.
    call.on('error', () => undefined);
    try {
      const responses = (await this.#run(running, handler, call.request)) as AsyncIterable<object>;
      for await (const response of responses) {
        if (!call.write(response)) await drained(call, running.controller.signal);
        running.controller.signal.throwIfAborted();
      }
      call.end();
      this.#end(running, OK, subject, call.request);
    } catch (thrown) {
      const error = failureOf(thrown, running);
      const status = statusOfError(error, running.requestId);
      call.emit('error', { code: status.code, details: status.details });
      this.#end(running, status, subject, call.request, error);
    }
  }

  #begin(method: AnyMethod, call: GrpcCall): RunningCall {
    this.#lastId += 1;
    const running = new RunningCall(method, this.#lastId.toString(36));
    this.#calls.add(running);
    call.on('cancelled', () => {
      // grpc-js says this after every call; then nobody listens any more.
      if (this.#calls.has(running)) running.controller.abort(cancellation(method, call.getDeadline()));
    });
    return running;
  }

  #run(running: RunningCall, handler: ErasedHandler, request: object) {
    if (this.#refusal) throw this.#refusal;
    const context: CallContext = {
      signal: running.controller.signal,
      requestId: running.requestId,
      log: this.#log.child({ requestId: running.requestId }),
    };
    return handler(request, context);
  }

  #end(running: RunningCall, status: RpcStatus, subject: Subject, request: object, error?: unknown): void {
    this.#calls.delete(running);
    if (this.#calls.size === 0) this.#whenIdle?.();
    const { method, requestId, durationMs } = running;
    series.grpcRequest.observe({ method: method.path.slice(1), code: status.name }, durationMs / 1000);
    const failed = error !== undefined;
    const level = !failed ? 'debug' : !isCairnError(error) ? 'error' : QUIET.has(status.name) ? 'debug' : 'warn';
    if (!this.#log.isLevelEnabled(level)) return;
    const fields = { method: method.name, code: status.name, durationMs: Math.round(durationMs), requestId };
    const step = isCairnError(error) && error.step !== undefined ? { step: error.step } : {};
    const bug = failed && !isCairnError(error) ? { err: error } : {};
    this.#log[level](
      { ...fields, ...subject(request), ...step, ...bug },
      failed ? status.details || 'failed' : 'answered',
    );
  }
}

/** Failures that callers provoke all day: asking for what is gone, going away, trying what we said we can't. */
const QUIET: ReadonlySet<string> = new Set(['NotFound', 'Cancelled', 'Unimplemented']);

/** What Node's own functions throw when our signal fires says less than the signal's reason. */
function failureOf(thrown: unknown, { controller: { signal } }: RunningCall): unknown {
  return signal.aborted && thrown instanceof Error && thrown.name === 'AbortError' ? signal.reason : thrown;
}

function unimplemented(method: AnyMethod): ErasedHandler {
  const service = method.path.slice(1, method.path.lastIndexOf('/'));
  return () => {
    throw new CairnError('Unimplemented', `${method.name} (${service}): Cairn does not implement this call yet`);
  };
}

function cancellation(method: AnyMethod, deadline: Date | number): CairnError {
  const passed = Number(deadline) - Date.now() < DEADLINE_SLACK_MS;
  if (passed) return new CairnError('DeadlineExceeded', `${method.name}: the caller's deadline passed`);
  return new CairnError('Cancelled', `${method.name}: the caller cancelled`);
}

function drained(call: ServerWritableStream<object, object>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      call.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    call.once('drain', done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
}
