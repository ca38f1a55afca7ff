/**
 * Removing a task, whatever state it is in: running, ended, cut off in the middle of its creation, or removed in part.
 * Each step may find its work done; the task's directory goes last, so that a second attempt knows that there is some left.
 */
import { access, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { stage } from '../base/stages.ts';
import { removeCgroup, signalProcess, watchProcess } from '../linux/index.ts';
import { containerCgroup, killCgroup, monitorCgroup } from './cgroups.ts';
import type { TaskSpec } from './index.ts';
import type { TaskPaths } from './paths.ts';
import { readRecord } from './record.ts';
import { callRuntime } from './runtime.ts';

const SIGKILL = 9;
/** A monitor whose container is dead still writes the rest of the log and the exit file. */
const MONITOR_END_MS = 2_000;
const STRAY_MS_MAX = 10_000;
const STRAY_PAUSE_MS = 5;
/** What conmon makes in the bundle. */
const BUNDLE_FILES = ['attach', 'ctl', 'winsz', 'oom'];

/** False when no step of a creation has left anything. */
export async function wasEverMade(paths: TaskPaths): Promise<boolean> {
  return (await exists(paths.directory)) || (await exists(paths.exitFile));
}

export function undoTask(spec: TaskSpec, paths: TaskPaths, timeoutMs: number): Promise<void> {
  return stage('task.delete', () => undo(spec, paths, timeoutMs));
}

async function undo(spec: TaskSpec, paths: TaskPaths, timeoutMs: number): Promise<void> {
  const container = containerCgroup(spec.cgroupsPath);
  const monitor = monitorCgroup(container, spec.id);
  const record = await readRecord(paths.record);
  if (record === undefined) {
    // Monitor first: it would go on with the creation. Killed, it takes the runtime with it (PDEATHSIG).
    await killCgroup(monitor, SIGKILL);
    await killStrayMakers(spec, paths);
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
    removeExitFiles(spec.id, paths),
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

/** The exit file, and temporary ones (`ID.XXXXXX`) of a monitor that was killed while it wrote. */
async function removeExitFiles(id: string, paths: TaskPaths): Promise<void> {
  const names = await readdir(paths.exitDirectory);
  const own = names.filter((name) => name === id || name.startsWith(`${id}.`));
  await Promise.all(own.map((name) => rm(join(paths.exitDirectory, name), { force: true })));
}

/**
 * Monitors and runtimes of a creation that was cut off, wherever they are: the daemon died before it had moved conmon to its
 * cgroup, or conmon was killed before its child could ask to die with it. Found by their arguments, the one place that
 * names them, until a whole look finds none; read only for a creation that was cut off.
 */
async function killStrayMakers(spec: TaskSpec, paths: TaskPaths): Promise<void> {
  const deadline = performance.now() + STRAY_MS_MAX;
  for (;;) {
    const found = await strayMakers(spec, paths);
    for (const pid of found) signalProcess(pid, SIGKILL);
    if (found.length === 0) return;
    if (performance.now() > deadline) {
      const message = `processes ${found.join(', ')}, which were making ${spec.id}, do not die`;
      throw new CairnError('DeadlineExceeded', message, { step: 'task.delete' });
    }
    await sleep(STRAY_PAUSE_MS);
  }
}

async function strayMakers(spec: TaskSpec, paths: TaskPaths): Promise<number[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const isMaker = async (pid: string) => {
    // A zombie's is empty.
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0');
    const isMonitor = ['--cid', spec.id, paths.exitDirectory].every((word) => words.includes(word));
    return isMonitor || (words[0] === spec.runtime.path && words.includes(`--log=${paths.runtimeLog}`));
  };
  const makers: number[] = [];
  for (const pid of pids) if (await isMaker(pid)) makers.push(Number(pid));
  return makers;
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}
