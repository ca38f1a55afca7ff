/**
 * Log rotation: the log was renamed, conmon is to write to a new file at the old path.
 *
 * conmon opens LOG.tmp and renames it over LOG. Were LOG still the file that it writes to, that would throw away what is
 * in it; so first look where conmon's descriptors point.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError, errnoOf } from '../base/errors.ts';
import { control } from './control.ts';

const REOPEN_MS_MAX = 10_000;
const POLL_MS = 2;

export async function reopenLog(options: { bundle: string; logPath: string; monitorPid: number }): Promise<void> {
  const { logPath, monitorPid } = options;
  if (await writesTo(monitorPid, logPath)) return;
  await control(options.bundle, '2 0 0\n', 'task.reopenLog');
  const deadline = performance.now() + REOPEN_MS_MAX;
  while (!(await writesTo(monitorPid, logPath))) {
    if (performance.now() > deadline) {
      throw new CairnError('DeadlineExceeded', `conmon (process ${monitorPid}) did not reopen ${logPath}`, {
        step: 'task.reopenLog',
      });
    }
    await sleep(POLL_MS);
  }
}

async function writesTo(pid: number, path: string): Promise<boolean> {
  const target = await fileIdentity(path);
  if (target === undefined) return false;
  const directory = `/proc/${pid}/fd`;
  for (const fd of await readdir(directory).catch(() => [])) {
    if ((await fileIdentity(join(directory, fd))) === target) return true;
  }
  return false;
}

async function fileIdentity(path: string): Promise<string | undefined> {
  try {
    const { dev, ino } = await stat(path, { bigint: true });
    return `${dev}:${ino}`;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
