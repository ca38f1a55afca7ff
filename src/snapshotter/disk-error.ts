/** What a failed system call means to whoever asked for the snapshot. */
import { CairnError, errnoOf, isCairnError, messageOf } from '../base/errors.ts';

/** Anything that is no system error is returned as it is: an expected failure, or a bug. */
export function explainDiskError(error: unknown): unknown {
  const code = isCairnError(error) ? undefined : errnoOf(error);
  if (code === undefined || !/^E[A-Z0-9]+$/.test(code)) return error;
  const options = { step: 'snapshotter.disk', cause: error };
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new CairnError('ResourceExhausted', `no room left for snapshots: ${messageOf(error)}`, options);
  }
  return new CairnError('Internal', `snapshots: ${messageOf(error)}`, options);
}
