/** Two or more pieces of one work that succeed or fail as one. */
import { CairnError, isCairnError } from '../base/errors.ts';

/**
 * Waits until all have ended. The first to fail aborts the others through `controller`, its error being the reason, and
 * is what this throws. A follower whose file was abandoned (`Aborted`) only suffers from another's failure, so that one's
 * error counts.
 */
export async function together(controller: AbortController, works: readonly Promise<unknown>[]): Promise<void> {
  const failures: unknown[] = [];
  const guarded = works.map(async (work) => {
    try {
      await work;
    } catch (error) {
      if (isCairnError(error, 'Aborted')) {
        failures.push(error);
        return;
      }
      failures.unshift(...(failures.some((each) => !isCairnError(each, 'Aborted')) ? [] : [error]));
      controller.abort(isCairnError(error) ? error : new CairnError('Cancelled', 'cancelled: another part failed'));
    }
  });
  await Promise.all(guarded);
  if (failures.length > 0) throw failures[0];
}
