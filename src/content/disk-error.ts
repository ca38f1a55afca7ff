/** What a failed write or read means to the caller: a full disk is ResourceExhausted, a broken one DataLoss. */
import { CairnError, type ErrorKind, errnoOf, messageOf } from '../base/errors.ts';

const KINDS: Readonly<Record<string, ErrorKind>> = {
  ENOSPC: 'ResourceExhausted',
  EDQUOT: 'ResourceExhausted',
  EMFILE: 'ResourceExhausted',
  ENFILE: 'ResourceExhausted',
  EROFS: 'FailedPrecondition',
  EACCES: 'FailedPrecondition',
  EIO: 'DataLoss',
};

/** A system error as `CairnError`, its own words kept; anything else (a bug, a `CairnError`) as it is. */
export function diskError(thrown: unknown, step: string, what: string): unknown {
  const code = errnoOf(thrown);
  if (code === undefined || thrown instanceof CairnError) return thrown;
  return new CairnError(KINDS[code] ?? 'Internal', `${what}: ${messageOf(thrown)}`, { step, cause: thrown });
}
