/**
 * The cgroups of a task: the container's (the runtime makes it), its monitor's beside it, and one for each running exec
 * below it. A path is as in `linux.cgroupsPath`, the same in every hierarchy.
 */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError, errnoOf } from '../base/errors.ts';
import {
  cgroupPaths,
  createCgroup,
  killAll,
  moveProcess,
  parseScopePath,
  signalCgroup,
  slicePath,
} from '../linux/index.ts';
import { throwIfStuck } from './stuck.ts';

const SIGKILL = 9;
const KILL_MS_MAX = 10_000;
const EXEC_PREFIX = 'cairn-exec-';
/** On v1 the hierarchy that an exec is set apart in; the freezer's counts and limits nothing. */
const EXEC_CONTROLLERS = ['freezer', 'systemd', 'pids'];
const EXEC_REMOVE_ATTEMPTS_MAX = 50;

/** The door for `TaskSpec.cgroupsPath`: an absolute path below the root, or systemd's `SLICE:PREFIX:NAME`. */
export function containerCgroup(unsafeCgroupsPath: string): string {
  const unit = parseScopePath(unsafeCgroupsPath);
  const slice = unit && slicePath(unit.slice);
  if (unit !== undefined && slice !== undefined) return posix.join(slice, unit.scope);
  const normal = posix.normalize(unsafeCgroupsPath) === unsafeCgroupsPath && posix.isAbsolute(unsafeCgroupsPath);
  if (normal && /[^/]$/.test(unsafeCgroupsPath)) return unsafeCgroupsPath;
  const message = `cgroups path ${JSON.stringify(unsafeCgroupsPath)} is not of the form /PARENT/ID or NAME.slice:PREFIX:ID`;
  throw new CairnError('InvalidArgument', message, { step: 'task.cgroups' });
}

/** Beside the container's: a plain cgroup, or a scope where systemd owns the place. */
export function monitorCgroup(container: string, id: string): string {
  return posix.join(posix.dirname(container), monitorName(id, container.endsWith('.scope')));
}

export function monitorName(id: string, isScope: boolean): string {
  return `cairn-conmon-${id}${isScope ? '.scope' : ''}`;
}

/** Moves the monitor to its own cgroup. A monitor that has ended already is not an error here: it will have said why. */
export async function placeMonitor(container: string, id: string, pid: number): Promise<void> {
  const path = monitorCgroup(container, id);
  // No limits are set in it, and what it uses counts for its parent.
  await createCgroup(path, { controllers: false });
  try {
    await moveProcess(pid, path);
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error;
  }
}

/** Signals every process of the cgroup and of those below; SIGKILL returns once there is none left. */
export async function killCgroup(path: string, signal: number): Promise<void> {
  if (signal !== SIGKILL) {
    await signalCgroup(path, signal);
    return;
  }
  const alive = await killAll(path, KILL_MS_MAX);
  await throwIfStuck(path, alive, KILL_MS_MAX);
}

/** Where the kernel counts OOM kills of this cgroup. */
export async function oomEventsFile(path: string): Promise<string | undefined> {
  const { memory, unified } = await cgroupPaths(path);
  if (memory !== undefined) return join(memory, 'memory.oom_control');
  return unified === undefined ? undefined : join(unified, 'memory.events');
}

export interface ExecCgroup extends AsyncDisposable {
  /** For the runtime's `exec --cgroup`. */
  readonly argument: string;
  /** Kills what is in it, until nothing is. */
  kill(): Promise<void>;
}

/** Made below the container's; disposing gives what still runs in it to the container and removes it. */
export async function createExecCgroup(container: string, suffix: string): Promise<ExecCgroup> {
  const name = `${EXEC_PREFIX}${suffix}`;
  const { controller, directory: parent } = await execParent(container);
  const directory = join(parent, name);
  try {
    await mkdir(directory);
  } catch (error) {
    if (!isGone(error)) throw error;
    throw new CairnError('FailedPrecondition', `the container is not running: its cgroup ${parent} is gone`, {
      step: 'task.exec',
      cause: error,
    });
  }
  return {
    argument: controller === undefined ? name : `${controller}:${name}`,
    kill: () => killCgroup(posix.join(container, name), SIGKILL),
    [Symbol.asyncDispose]: () => removeExecCgroup(directory, parent),
  };
}

/** Kills what runs in execs that nobody waits for any more: their daemon died. */
export async function endStaleExecs(container: string): Promise<void> {
  const { directory: parent } = await execParent(container);
  const names = await readdir(parent).catch(() => []);
  for (const name of names.filter((entry) => entry.startsWith(EXEC_PREFIX))) {
    await killCgroup(posix.join(container, name), SIGKILL);
    await removeExecCgroup(join(parent, name), parent);
  }
}

async function execParent(container: string): Promise<{ controller: string | undefined; directory: string }> {
  const paths = await cgroupPaths(container);
  for (const controller of EXEC_CONTROLLERS) {
    const directory = paths[controller];
    if (directory !== undefined) return { controller, directory };
  }
  // v2: one hierarchy, and no controller's name in the argument.
  const { unified } = paths;
  if (unified !== undefined) return { controller: undefined, directory: unified };
  throw new CairnError('FailedPrecondition', 'no cgroup hierarchy can hold an exec', { step: 'task.exec' });
}

async function removeExecCgroup(directory: string, parent: string): Promise<void> {
  for (let attempt = 0; attempt < EXEC_REMOVE_ATTEMPTS_MAX; attempt++) {
    try {
      await rmdir(directory);
      return;
    } catch (error) {
      if (isGone(error)) return;
      if (errnoOf(error) !== 'EBUSY') throw error;
    }
    // A process that ended leaves the list before the kernel lets go of it.
    if ((await moveAll(directory, parent)) === 0) await sleep(Math.min(2 ** attempt, 50));
  }
}

async function moveAll(from: string, to: string): Promise<number> {
  const pids = (await readFile(join(from, 'cgroup.procs'), 'latin1').catch(() => '')).split('\n').filter(Boolean);
  for (const pid of pids) {
    try {
      await writeFile(join(to, 'cgroup.procs'), pid, { flag: 'r+' });
    } catch (error) {
      if (errnoOf(error) !== 'ESRCH' && !isGone(error)) throw error;
    }
  }
  return pids.length;
}

function isGone(error: unknown): boolean {
  return errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENODEV';
}
