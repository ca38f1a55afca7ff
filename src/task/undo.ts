/**
 * Removing a task, whatever state it is in: running, ended, cut off in the middle of its creation, or removed in part.
 * Each step may find its work done; the task's directory goes last, so that a second attempt knows that there is some left.
 */
import { access, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { failpoint } from '../base/failpoint.ts';
import { removeCgroup, signalProcess, watchProcess } from '../linux/index.ts';
import { containerCgroup, killCgroup, monitorCgroup } from './cgroups.ts';
import type { TaskSpec } from './index.ts';
import type { TaskPaths } from './paths.ts';
import { readRecord } from './record.ts';
import { callRuntime } from './runtime.ts';

const SIGKILL = 9;
/** A monitor whose container is dead still writes the rest of the log and the exit file. */
const MONITOR_END_MS = 2_000;
/** What conmon makes in the bundle. */
const BUNDLE_FILES = ['attach', 'ctl', 'winsz', 'oom'];

/** False when no step of a creation has left anything. */
export async function wasEverMade(paths: TaskPaths): Promise<boolean> {
  return (await exists(paths.directory)) || (await exists(paths.exitFile));
}

export async function undoTask(spec: TaskSpec, paths: TaskPaths, timeoutMs: number): Promise<void> {
  const container = containerCgroup(spec.cgroupsPath);
  const monitor = monitorCgroup(container, spec.id);
  const record = await readRecord(paths.record);
  if (record === undefined) {
    // Monitor first: it would go on with the creation. Killed, it takes the runtime with it (PDEATHSIG).
    await killCgroup(monitor, SIGKILL);
    await killStrayMonitors(spec.id, paths);
    await killCgroup(container, SIGKILL);
  } else {
    await killCgroup(container, SIGKILL);
    if (record.startTime !== undefined) signalProcess(record.pid, SIGKILL, { startTime: record.startTime });
    if (record.monitorStartTime !== undefined) await endOf(record.monitorPid, record.monitorStartTime);
    await killCgroup(monitor, SIGKILL);
  }
  await failpoint('task.delete.runtime');
  if (await exists(join(spec.runtime.rootDirectory, spec.id))) {
    await callRuntime(spec.runtime, {
      verb: 'delete',
      args: ['--force', spec.id],
      logPath: (await exists(paths.directory)) ? paths.runtimeLog : '/dev/null',
      timeoutMs,
    });
  }
  await failpoint('task.delete.cgroups');
  await Promise.all([
    removeCgroup(container),
    removeCgroup(monitor),
    rm(paths.exitFile, { force: true }),
    ...BUNDLE_FILES.map((name) => rm(join(spec.bundle, name), { force: true })),
  ]);
  await failpoint('task.delete.directory');
  await rm(paths.directory, { recursive: true, force: true });
}

async function endOf(pid: number, startTime: bigint): Promise<void> {
  using watched = watchProcess(pid, { startTime });
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, MONITOR_END_MS);
  await Promise.race([watched.exited, late]);
  clearTimeout(timer);
}

/**
 * The daemon died between conmon's start and its move to its cgroup: then conmon went on where it was. Found by its
 * arguments, the one place that names it; read only for a creation that was cut off.
 */
async function killStrayMonitors(id: string, paths: TaskPaths): Promise<void> {
  const wanted = ['--cid', id, paths.exitDirectory];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const commandLine = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    const words = commandLine.split('\0');
    if (wanted.every((word) => words.includes(word))) signalProcess(Number(entry), SIGKILL);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
