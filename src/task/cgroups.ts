/**
 * The cgroups of a task: the container's (the runtime makes it), its monitor's beside it, and one for each running exec
 * below it.
 *
 * A path is as in `linux.cgroupsPath`, the same in every hierarchy. On v1 conmon is placed where it counts (memory, CPU,
 * processes) and where it is found again; on v2 a leaf beside the container's, since a cgroup with children can't hold
 * processes itself.
 */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError, errnoOf } from '../base/errors.ts';
import { signalProcess } from '../linux/index.ts';
import { cgroupHierarchies, type Hierarchies } from './hierarchies.ts';

const SIGKILL = 9;
const MONITOR_CONTROLLERS = ['memory', 'cpu', 'cpuacct', 'pids', 'name=systemd', ''];
const EXEC_CONTROLLERS = ['freezer', 'name=systemd', 'pids'];
const KILL_MS_MAX = 10_000;
const REMOVE_MS_MAX = 2_000;
const PAUSE_MS_MAX = 20;

/** The door for `TaskSpec.cgroupsPath`: an absolute path that stays below the root. */
export function containerCgroup(unsafeCgroupsPath: string): string {
  if (/^[^/]*:[^/]*:[^/]*$/.test(unsafeCgroupsPath)) {
    const message = `cgroups path ${unsafeCgroupsPath}: the systemd cgroup driver is not supported by tasks yet`;
    throw new CairnError('Unimplemented', message, { step: 'task.cgroups' });
  }
  const depth = unsafeCgroupsPath.split('/').filter(Boolean).length;
  if (posix.isAbsolute(unsafeCgroupsPath) && posix.normalize(unsafeCgroupsPath) === unsafeCgroupsPath && depth >= 2) {
    return unsafeCgroupsPath;
  }
  const message = `cgroups path ${JSON.stringify(unsafeCgroupsPath)} is not of the form /PARENT/ID`;
  throw new CairnError('InvalidArgument', message, { step: 'task.cgroups' });
}

export function monitorCgroup(container: string, id: string): string {
  return posix.join(posix.dirname(container), `cairn-conmon-${id}`);
}

/** Moves the monitor to its own cgroup. */
export async function placeMonitor(container: string, id: string, pid: number): Promise<void> {
  const { mounts } = await cgroupHierarchies();
  const roots = new Set(MONITOR_CONTROLLERS.flatMap((name) => mounts.get(name) ?? []));
  const path = monitorCgroup(container, id);
  await Promise.all([...roots].map((root) => enter(join(root, path), pid)));
}

async function enter(directory: string, pid: number): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'cgroup.procs'), String(pid));
}

/** Where the kernel counts OOM kills of this cgroup. */
export async function oomEventsFile(path: string): Promise<string | undefined> {
  const { version, mounts } = await cgroupHierarchies();
  const root = mounts.get(version === 2 ? '' : 'memory');
  return root === undefined ? undefined : join(root, path, version === 2 ? 'memory.events' : 'memory.oom_control');
}

/** Signals every process of the cgroup and of those below; SIGKILL returns once there is none left. */
export async function killCgroup(path: string, signal: number): Promise<void> {
  const { main, mounts } = await cgroupHierarchies();
  const unified = mounts.get('');
  // All at once, also what is just being forked (Linux 5.14; on v1 hosts in the unified hierarchy beside).
  if (signal === SIGKILL && unified !== undefined) await killAtOnce(join(unified, path));
  await killOneByOne(join(main, path), signal);
}

async function killAtOnce(directory: string): Promise<void> {
  try {
    await writeFile(join(directory, 'cgroup.kill'), '1', { flag: 'r+' });
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

async function killOneByOne(directory: string, signal: number): Promise<void> {
  const deadline = performance.now() + KILL_MS_MAX;
  for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    const pids = await processesBelow(directory);
    for (const pid of pids) signalProcess(pid, signal);
    if (pids.length === 0 || signal !== SIGKILL) return;
    if (performance.now() > deadline) {
      const message = `processes ${pids.slice(0, 10).join(', ')} of cgroup ${directory} do not die`;
      throw new CairnError('DeadlineExceeded', message, { step: 'task.kill' });
    }
    await sleep(pauseMs);
  }
}

async function processesBelow(directory: string): Promise<number[]> {
  const [own, children] = await Promise.all([processesOf(directory), directoriesIn(directory)]);
  const below = await Promise.all(children.map((child) => processesBelow(child)));
  return [...own, ...below.flat()];
}

async function processesOf(directory: string): Promise<number[]> {
  try {
    const text = await readFile(join(directory, 'cgroup.procs'), 'latin1');
    return text.split('\n').filter(Boolean).map(Number);
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

async function directoriesIn(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => join(directory, entry.name));
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

/** Removes the cgroup and those below from all hierarchies. Its processes are dead. */
export async function removeCgroupTree(path: string): Promise<void> {
  const { roots } = await cgroupHierarchies();
  await Promise.all(roots.map((root) => removeTree(join(root, path))));
}

async function removeTree(directory: string): Promise<void> {
  const deadline = performance.now() + REMOVE_MS_MAX;
  for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      if (isGone(error)) return;
      // Busy: it has children, or a process that is still on its way out.
      if (errnoOf(error) !== 'EBUSY' || performance.now() > deadline) throw error;
    }
    for (const child of await directoriesIn(directory)) await removeTree(child);
    await sleep(pauseMs);
  }
}

export interface ExecCgroup extends AsyncDisposable {
  /** For the runtime's `exec --cgroup`. */
  readonly argument: string;
  /** Kills what is in it, until nothing is. */
  kill(): Promise<void>;
}

/** Made below the container's; disposing gives what still runs in it to the container and removes it. */
export async function createExecCgroup(container: string, name: string): Promise<ExecCgroup> {
  const { root, argument } = execPlace(await cgroupHierarchies(), name);
  const parent = join(root, container);
  const directory = join(parent, name);
  try {
    await mkdir(directory);
  } catch (error) {
    if (!isGone(error)) throw error;
    throw new CairnError('FailedPrecondition', `the container is not running: cgroup ${parent} is gone`, {
      step: 'task.exec',
      cause: error,
    });
  }
  return {
    argument,
    kill: () => killOneByOne(directory, SIGKILL),
    [Symbol.asyncDispose]: () => removeExecCgroup(directory, parent),
  };
}

function execPlace({ version, mounts }: Hierarchies, name: string): { root: string; argument: string } {
  if (version === 2) return { root: mounts.get('') ?? '', argument: name };
  for (const controller of EXEC_CONTROLLERS) {
    const root = mounts.get(controller);
    if (root !== undefined) return { root, argument: `${controller}:${name}` };
  }
  throw new CairnError('FailedPrecondition', 'neither freezer nor pids cgroups are mounted', { step: 'task.exec' });
}

async function removeExecCgroup(directory: string, parent: string): Promise<void> {
  for (let attempt = 0; attempt < REMOVE_MS_MAX / PAUSE_MS_MAX; attempt++) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      if (isGone(error)) return;
      if (errnoOf(error) !== 'EBUSY') throw error;
    }
    const staying = await processesOf(directory);
    await Promise.all(staying.map((pid) => writeFile(join(parent, 'cgroup.procs'), String(pid)).catch(ignoreEnded)));
    if (staying.length === 0) await sleep(PAUSE_MS_MAX);
  }
}

/** Kills what runs in execs that nobody waits for any more: their daemon died. */
export async function endStaleExecs(container: string): Promise<void> {
  const { root } = execPlace(await cgroupHierarchies(), '');
  for (const directory of await directoriesIn(join(root, container))) {
    if (!/\/cairn-exec-[^/]*$/.test(directory)) continue;
    await killOneByOne(directory, SIGKILL);
    await removeExecCgroup(directory, dirname(directory));
  }
}

function ignoreEnded(error: unknown): void {
  if (errnoOf(error) !== 'ESRCH' && !isGone(error)) throw error;
}

function isGone(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV';
}
