/** Errors and gRPC statuses: the one place where a kind becomes a code and back. */
import { CairnError, type ErrorKind, errnoOf, isCairnError, messageOf } from '../base/errors.ts';

/** The canonical codes (google.rpc.Code). */
const CODES: Readonly<Record<ErrorKind, number>> = {
  Cancelled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
};

const KINDS = new Map(Object.entries(CODES).map(([kind, code]) => [code, kind as ErrorKind]));

/** The status travels as an HTTP/2 header, which peers bound: Go's default is 16 KB for all of them, percent-encoded. */
const DETAILS_LENGTH_MAX = 4096;

export interface RpcStatus {
  readonly code: number;
  /** The code's name, `OK` or an ErrorKind. */
  readonly name: string;
  readonly details: string;
}

export const OK: RpcStatus = { code: 0, name: 'OK', details: '' };

/**
 * The status for whatever a handler threw. A bug's words stay in the log: they help no caller and nobody checked them for
 * secrets; those of a failed system call name a path and an errno, and do help.
 */
export function statusOfError(thrown: unknown, requestId: string): RpcStatus {
  if (isCairnError(thrown)) return status(thrown.kind, thrown.message);
  if (errnoOf(thrown) !== undefined) return status('Internal', messageOf(thrown));
  return status('Internal', `internal error, see cairnd's log for request ${requestId}`);
}

function status(kind: ErrorKind, message: string): RpcStatus {
  const whole = message.length <= DETAILS_LENGTH_MAX ? message : `${message.slice(0, DETAILS_LENGTH_MAX)} [cut]`;
  // A lone half of a surrogate pair, be it from a cut, can't be percent-encoded.
  return { code: CODES[kind], name: kind, details: whole.toWellFormed() };
}

/** What a client makes of a status that is not OK. */
export function errorOfStatus(code: number, details: string, step: string, cause?: unknown): CairnError {
  return new CairnError(KINDS.get(code) ?? 'Unknown', details, { step, cause });
}
