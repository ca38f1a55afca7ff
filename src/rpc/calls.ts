/** The calls under way: runs a handler for each, with its signal, its log line and its place in the metrics. */
import type {
  Server as Http2GrpcServer,
  ServerUnaryCall,
  ServerWritableStream,
  sendUnaryData,
  UntypedHandleCall,
} from '@grpc/grpc-js';
import { CairnError, isCairnError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { series } from '../base/metrics.ts';
import { type Activity, beginRequest, describeStage, stageOf, stoppedIn } from '../base/stages.ts';
import { DeadlineWatch } from './deadline.ts';
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

/** A call that takes this long is worth a line in the log, with its stage; and another one each time it has tripled. */
const SLOW_MS = 10_000;

class RunningCall {
  readonly controller = new AbortController();
  readonly method: AnyMethod;
  readonly requestId: string;
  readonly activity: Activity;
  slowTimer: NodeJS.Timeout | undefined;

  constructor(method: AnyMethod, requestId: string, subject: object) {
    this.method = method;
    this.requestId = requestId;
    this.activity = beginRequest(method.name, { id: requestId, subject });
  }

  get durationMs(): number {
    return this.activity.durationMs;
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
      const running = this.#begin(method, call, subject(call.request));
      void running.activity.run(() => this.#answer(running, run, call, answer));
    };
    const stream = (call: ServerWritableStream<object, object>) => {
      const running = this.#begin(method, call, subject(call.request));
      void running.activity.run(() => this.#stream(running, run, call));
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

  /** Waits until no call runs, at most so long; returns what still does: method, request ID, stage. */
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
    return [...this.#calls].map(
      ({ method, requestId, activity }) => `${method.name} (${requestId}), ${describeStage(activity.current())}`,
    );
  }

  async #answer(
    running: RunningCall,
    handler: ErasedHandler,
    call: ServerUnaryCall<object, object>,
    answer: sendUnaryData<object>,
  ): Promise<void> {
    let told: RpcStatus | undefined;
    const tell = (status: RpcStatus, response: object | null) => {
      if (told) return told;
      told = status;
      answer(status === OK ? null : { code: status.code, details: status.details }, response);
      return status;
    };
    using _deadline = new DeadlineWatch(call.getDeadline(), {
      near: () => running.controller.abort(deadlineError(running)),
      late: () => tell(statusOfError(running.controller.signal.reason, running.requestId), null),
    });
    try {
      const response = (await this.#run(running, handler, call.request)) as object;
      this.#end(running, tell(OK, response));
    } catch (thrown) {
      const error = failureOf(thrown, running);
      this.#end(running, tell(statusOfError(error, running.requestId), null), error);
    }
  }

  async #stream(
    running: RunningCall,
    handler: ErasedHandler,
    call: ServerWritableStream<object, object>,
  ): Promise<void> {
    // A stream that the peer reset reports that as an error as well; the signal has said it already.
    call.on('error', () => undefined);
    try {
      const responses = (await this.#run(running, handler, call.request)) as AsyncIterable<object>;
      for await (const response of responses) {
        if (!call.write(response)) await drained(call, running.controller.signal);
        running.controller.signal.throwIfAborted();
      }
      call.end();
      this.#end(running, OK);
    } catch (thrown) {
      const error = failureOf(thrown, running);
      const status = statusOfError(error, running.requestId);
      call.emit('error', { code: status.code, details: status.details });
      this.#end(running, status, error);
    }
  }

  #begin(method: AnyMethod, call: GrpcCall, subject: object): RunningCall {
    this.#lastId += 1;
    const running = new RunningCall(method, this.#lastId.toString(36), subject);
    this.#calls.add(running);
    series.requestsRunning.inc({ method: method.name });
    if (!method.responseStream) this.#watchSlow(running, SLOW_MS);
    call.on('cancelled', () => {
      // grpc-js says this after every call; then nobody listens any more.
      if (this.#calls.has(running)) running.controller.abort(cancellation(running, call.getDeadline()));
    });
    return running;
  }

  /** Says of a call that lasts where it is, while that can still be of use. */
  #watchSlow(running: RunningCall, afterMs: number): void {
    const tell = () => {
      const { method, requestId, activity } = running;
      const view = describeStage(activity.current());
      const fields = { method: method.name, requestId, ...activity.subject, stages: activity.spentMs() };
      this.#log.info(
        fields,
        `${method.name} has been at work for ${Math.round(activity.durationMs / 1000)} s: ${view}`,
      );
      this.#watchSlow(running, 2 * activity.durationMs);
    };
    running.slowTimer = setTimeout(tell, afterMs).unref();
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

  /** `status` is what the caller was told: the deadline's, where the handler came too late. */
  #end(running: RunningCall, status: RpcStatus, error?: unknown): void {
    const { method, requestId, durationMs, activity } = running;
    this.#calls.delete(running);
    clearTimeout(running.slowTimer);
    activity[Symbol.dispose]();
    if (this.#calls.size === 0) this.#whenIdle?.();
    series.requestsRunning.dec({ method: method.name });
    series.grpcRequest.observe({ method: method.path.slice(1), code: status.name }, durationMs / 1000);
    const failed = error !== undefined;
    const isBug = failed && !isCairnError(error);
    const slow = durationMs >= SLOW_MS && !method.responseStream;
    const level = isBug ? 'error' : failed && !QUIET.has(status.name) ? 'warn' : slow ? 'info' : 'debug';
    if (!this.#log.isLevelEnabled(level)) return;
    const fields = { method: method.name, code: status.name, durationMs: Math.round(durationMs), requestId };
    const step = isCairnError(error) && error.step !== undefined ? { step: error.step } : {};
    const failedIn = stageOf(error);
    this.#log[level](
      {
        ...{ ...fields, ...activity.subject, ...step },
        ...(failedIn !== undefined && { stage: failedIn }),
        ...((failed || slow) && { stages: activity.spentMs() }),
        ...(isBug && { err: error }),
      },
      failed
        ? (isBug ? status.details : messageOf(error)) || 'failed'
        : status === OK
          ? 'answered'
          : 'done after its caller had given up',
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

function cancellation(running: RunningCall, deadline: Date | number): CairnError {
  if (Number(deadline) - Date.now() < DEADLINE_SLACK_MS) return deadlineError(running);
  return new CairnError('Cancelled', `${running.method.name}: the caller cancelled`);
}

function deadlineError({ method, activity }: RunningCall): CairnError {
  const view = activity.current();
  const message = `${method.name}: the caller's deadline passed in ${describeStage(view)}`;
  return stoppedIn(new CairnError('DeadlineExceeded', message), view);
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
