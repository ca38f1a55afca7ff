/**
 * Plugins that outlived a daemon which died in the middle of an ADD. They must be gone before DEL runs for their pod, or
 * they take again what DEL gave back.
 */
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout } from 'node:timers/promises';
import { CairnError, errnoOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';

const GONE_WAIT_MS = 5000;
const LOOK_AGAIN_MS = 10;

/** Kills plugins that run for these container IDs, with what they started, and waits for their end. */
export async function endOrphanedPlugins(containerIds: ReadonlySet<string>, log: Logger): Promise<void> {
  if (containerIds.size === 0) return;
  const deadline = performance.now() + GONE_WAIT_MS;
  for (;;) {
    const orphans = await findPlugins(containerIds);
    if (orphans.length === 0) return;
    for (const { pid, sandbox } of orphans) {
      log.warn({ pid, sandbox }, 'a network plugin of an earlier cairnd still runs; it is killed, its work undone');
      kill(pid);
    }
    if (performance.now() > deadline) {
      const pids = orphans.map(({ pid }) => pid).join(', ');
      throw new CairnError('FailedPrecondition', `network plugins of an earlier cairnd do not end: process ${pids}`, {
        step: 'network.orphans',
      });
    }
    await setTimeout(LOOK_AGAIN_MS);
  }
}

/** A plugin has its pod in its environment, and so do its children. */
async function findPlugins(containerIds: ReadonlySet<string>): Promise<{ pid: number; sandbox: string }[]> {
  const found: { pid: number; sandbox: string }[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const environment = await readFile(`/proc/${name}/environ`, 'latin1').catch(() => '');
    const [, sandbox] = /(?:^|\0)CNI_CONTAINERID=([^\0]*)/.exec(environment) ?? [];
    if (sandbox !== undefined && containerIds.has(sandbox)) found.push({ pid: Number(name), sandbox });
  }
  return found;
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}
