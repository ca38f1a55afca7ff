/** Ends a running container: its stop signal, the grace period, SIGKILL. */
import { abortError, CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { stage } from '../base/stages.ts';
import type { TaskService } from '../task/index.ts';
import { sharesPidNamespace } from './dismantle.ts';
import type { ContainerRecord } from './records.ts';

const SIGKILL = 9;
/** A killed process that is still there after this is stuck in the kernel. */
const KILL_TIMEOUT_MS = 10_000;
/** setTimeout takes no more. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** Returns when `ended` has resolved. DeadlineExceeded, saying why, when not even SIGKILL ends it. */
export async function stopTask(
  record: ContainerRecord,
  task: TaskService,
  ended: Promise<void>,
  timeoutSeconds: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (timeoutSeconds > 0) {
    await failpoint('container.stop.signal');
    await task.kill(record.id, record.stopSignal);
    const grace = () => endsWithin(ended, timeoutSeconds * 1000, signal);
    if (await stage('container.stop-grace', grace, { detail: `${timeoutSeconds} s` })) return;
  }
  await failpoint('container.stop.kill');
  const killed = await stage('container.stop-kill', async () => {
    await task.kill(record.id, SIGKILL, { all: sharesPidNamespace(record) });
    return await endsWithin(ended, KILL_TIMEOUT_MS, signal);
  });
  if (killed) return;
  const why = await task.describeProcesses(record.id);
  throw new CairnError(
    'DeadlineExceeded',
    `container ${record.id} has not ended ${KILL_TIMEOUT_MS / 1000} s after SIGKILL${why === '' ? '' : `: ${why}`}`,
    { step: 'container.stop' },
  );
}

/** False when the time is over first. Throws when `signal` fires first. */
export function endsWithin(ended: Promise<void>, timeoutMs: number, signal: AbortSignal | undefined): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const onAbort = () => settle(() => signal && reject(abortError(signal, 'container.stop')));
    const timer = setTimeout(() => settle(() => resolve(false)), Math.min(timeoutMs, DELAY_MS_MAX));
    const settle = (act: () => void) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      act();
    };
    if (signal?.aborted) return onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    ended.then(
      () => settle(() => resolve(true)),
      (error: unknown) => settle(() => reject(error)),
    );
  });
}
