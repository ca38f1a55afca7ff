/** Processes of a task that SIGKILL does not end: which they are and what the kernel lets them wait for. */
import { CairnError } from '../base/errors.ts';
import { describeWaits, processesOf } from '../linux/index.ts';

/** DeadlineExceeded that names the processes of a cgroup which are left after SIGKILL; nothing when they went meanwhile. */
export async function throwIfStuck(cgroup: string, alive: readonly number[], waitedMs: number): Promise<void> {
  if (alive.length === 0) return;
  const waits = await describeWaits(alive);
  if (waits === '' && (await processesOf(cgroup)).length === 0) return;
  const words = waits === '' ? `processes ${alive.join(', ')} have ended, but nobody reaps them` : waits;
  const message = `cgroup ${cgroup} is not empty ${waitedMs / 1000} s after SIGKILL: ${words}`;
  throw new CairnError('DeadlineExceeded', message, { step: 'task.kill' });
}

/** `first` (0: none) and whoever is in the cgroup. */
export async function describeProcesses(cgroup: string, first: number): Promise<string> {
  const pids = await processesOf(cgroup);
  return await describeWaits([...new Set([...(first > 0 ? [first] : []), ...pids])]);
}
