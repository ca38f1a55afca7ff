/**
 * The one error type of Cairn.
 *
 * A `CairnError` is an expected failure: something outside the program is wrong (a request, a registry, the host, a
 * runtime's answer) and somebody can act on it. Its `kind` is the only thing that code may branch on and decides the
 * gRPC status code; its `message` is written for the person who reads the log, and carries the words of the component
 * that failed. It never holds a credential. Cancellation is `kind: 'Cancelled'`. Everything else that is thrown is a bug.
 */

/** The canonical gRPC status codes, by name, less OK. */
export type ErrorKind =
  | 'Cancelled'
  | 'Unknown'
  | 'InvalidArgument'
  | 'DeadlineExceeded'
  | 'NotFound'
  | 'AlreadyExists'
  | 'PermissionDenied'
  | 'ResourceExhausted'
  | 'FailedPrecondition'
  | 'Aborted'
  | 'OutOfRange'
  | 'Unimplemented'
  | 'Internal'
  | 'Unavailable'
  | 'DataLoss'
  | 'Unauthenticated';

export interface CairnErrorOptions {
  /** The step that failed, as `module.verb` (`task.create`, `registry.resolve`): for logs and metrics. */
  readonly step?: string;
  /** What was caught, if anything. Its text is not repeated to the caller unless `message` does so. */
  readonly cause?: unknown;
}

export class CairnError extends Error {
  override readonly name = 'CairnError';
  readonly kind: ErrorKind;
  readonly step: string | undefined;

  constructor(kind: ErrorKind, message: string, options: CairnErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.step = options.step;
  }
}

/** True for a `CairnError`, of that kind where one is given. */
export function isCairnError(value: unknown, kind?: ErrorKind): value is CairnError {
  return value instanceof CairnError && (kind === undefined || value.kind === kind);
}

/** The message of whatever was thrown. */
export function messageOf(thrown: unknown): string {
  return isErrorLike(thrown) ? thrown.message : String(thrown);
}

/** An error of any realm: `instanceof` fails for Node's own errors inside a vm context, where jest runs tests. */
function isErrorLike(value: unknown): value is Error {
  if (typeof value !== 'object' || value === null) return false;
  return 'name' in value && typeof value.name === 'string' && 'message' in value && typeof value.message === 'string';
}

/** The errno name (`ENOENT`) of a system error, else undefined. */
export function errnoOf(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}

/** Throws `Cancelled` or `DeadlineExceeded` when `signal` has fired; a `CairnError` given as its reason is kept. */
export function throwIfAborted(signal: AbortSignal | undefined, step: string): void {
  if (signal?.aborted) throw abortError(signal, step);
}

/** What a wait that `signal` ended throws. */
export function abortError(signal: AbortSignal, step: string): CairnError {
  const reason: unknown = signal.reason;
  if (reason instanceof CairnError) return reason;
  const timedOut = isErrorLike(reason) && reason.name === 'TimeoutError';
  return new CairnError(
    timedOut ? 'DeadlineExceeded' : 'Cancelled',
    timedOut ? `${step}: deadline exceeded` : `${step}: cancelled`,
    { step, cause: reason },
  );
}
