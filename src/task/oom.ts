/**
 * Whether the kernel killed a process of a task for want of memory.
 *
 * Two witnesses: conmon leaves an empty `oom` file (it can be late, or miss the event), and the container's cgroup counts
 * its kills; the cgroup stays until the runtime deletes the container.
 */
import { access, readFile } from 'node:fs/promises';
import { errnoOf } from '../base/errors.ts';
import { oomEventsFile } from './cgroups.ts';
import type { TaskPaths } from './paths.ts';

export async function wasOomKilled(paths: TaskPaths, cgroupsPath: string): Promise<boolean> {
  return (await exists(paths.oomFile)) || (await oomKills(await oomEventsFile(cgroupsPath))) > 0;
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

async function oomKills(eventsFile: string | undefined): Promise<number> {
  if (eventsFile === undefined) return 0;
  try {
    return parseOomKills(await readFile(eventsFile, 'utf8'));
  } catch (error) {
    // Gone, or without a memory controller (ENODEV: removed between open and read).
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV') return 0;
    throw error;
  }
}

/** `oom_kill N` of memory.events (v2) and of memory.oom_control (v1, since Linux 4.13). */
export function parseOomKills(text: string): number {
  return Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
}
