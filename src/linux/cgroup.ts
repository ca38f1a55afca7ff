/**
 * Making, filling, emptying and removing cgroups, on v1, hybrid and v2 hosts (cgroup-layout.ts).
 *
 * cgroupfs answers from memory, but moving and removing wait for the kernel's other CPUs, so all of it runs in libuv's
 * thread pool. Every call can be repeated.
 */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError, errnoOf, messageOf } from '../base/errors.ts';
import { cgroupDirectories, cgroupLayout, cgroupPaths, checkPath } from './cgroup-layout.ts';

/** The kernel lets go of a process some time after it ended. */
const REMOVE_WAIT_MS = 5000;
const RETRY_MS_MAX = 100;
const SIGKILL = 9;

export interface CreateCgroupOptions {
  /**
   * v2 only: enable every controller in the cgroups above, so that limits can be set in this one. Default true; false for
   * a cgroup that only groups.
   */
  readonly controllers?: boolean;
}

/** Makes the cgroup, and the ones above it, in every hierarchy. It may exist. */
export async function createCgroup(path: string, options: CreateCgroupOptions = {}): Promise<void> {
  const relative = checkPath(path);
  const { hierarchies } = await cgroupLayout();
  await Promise.all(
    [...new Set(hierarchies.values())].map(async (root) => {
      await mkdir(join(root, relative), { recursive: true });
      if (root === hierarchies.get('cpuset')) await inheritCpuset(root, relative);
      if (root === hierarchies.get('unified') && options.controllers !== false) await enableControllers(root, relative);
    }),
  );
}

/** A new v1 cpuset is empty, and an empty one takes no process: each level copies its parent's. */
async function inheritCpuset(root: string, relative: string): Promise<void> {
  let directory = root;
  for (const part of relative.split('/')) {
    const parent = directory;
    directory = join(directory, part);
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      if ((await readText(join(directory, file))).trim() !== '') continue;
      await writeFile(join(directory, file), await readText(join(parent, file)), { flag: 'r+' });
    }
  }
}

/** On v2 a controller exists in a cgroup when its parent hands it down. */
async function enableControllers(root: string, relative: string): Promise<void> {
  let directory = root;
  for (const part of relative.split('/')) {
    const [available, enabled] = await Promise.all(
      ['cgroup.controllers', 'cgroup.subtree_control'].map(async (file) =>
        words(await readText(join(directory, file))),
      ),
    );
    const missing = available?.filter((controller) => !enabled?.includes(controller)) ?? [];
    if (missing.length > 0) {
      const request = missing.map((controller) => `+${controller}`).join(' ');
      try {
        await writeFile(join(directory, 'cgroup.subtree_control'), request, { flag: 'r+' });
      } catch (error) {
        const reason = errnoOf(error) === 'EBUSY' ? 'processes live directly in it' : messageOf(error);
        const message = `cgroup ${directory}: can't hand down ${missing.join(', ')}: ${reason}`;
        throw new CairnError('FailedPrecondition', message, { step: 'linux.cgroup', cause: error });
      }
    }
    directory = join(directory, part);
  }
}

/** Moves a process with all its threads, in every hierarchy. ESRCH when it has ended. */
export async function moveProcess(pid: number, path: string): Promise<void> {
  const directories = await cgroupDirectories(path);
  await Promise.all(
    directories.map((directory) => writeFile(join(directory, 'cgroup.procs'), `${pid}`, { flag: 'r+' })),
  );
}

/** The processes in the cgroup and below, in any hierarchy. Empty when there is none. */
export async function processesOf(path: string): Promise<number[]> {
  const found = await Promise.all((await cgroupDirectories(path)).map(processesBelow));
  return [...new Set(found.flat())].sort((a, b) => a - b);
}

async function processesBelow(directory: string): Promise<number[]> {
  const own = words(await readText(join(directory, 'cgroup.procs')))
    .map(Number)
    // 0: a process that our PID namespace can't see.
    .filter((pid) => pid > 0);
  const below = await Promise.all((await childrenOf(directory)).map(processesBelow));
  return [...own, ...below.flat()];
}

/** Sends a signal to every process in the cgroup and below; how many got it. */
export async function signalCgroup(path: string, signal: number): Promise<number> {
  return signalEach(await processesOf(path), signal);
}

function signalEach(pids: readonly number[], signal: number): number {
  return pids.filter((pid) => {
    try {
      return process.kill(pid, signal);
    } catch (error) {
      if (errnoOf(error) === 'ESRCH') return false;
      throw error;
    }
  }).length;
}

/**
 * Kills every process in the cgroup and below, also ones that fork meanwhile and frozen ones. Resolves with the PIDs that
 * are still there after `timeoutMs` (in a wait that no signal ends); usually none.
 */
export async function killAll(path: string, timeoutMs = 5000): Promise<number[]> {
  const paths = await cgroupPaths(path);
  const deadline = performance.now() + timeoutMs;
  for (let round = 0; ; round++) {
    const pids = await processesOf(path);
    if (pids.length === 0 || performance.now() > deadline) return pids;
    // v2 kills the whole tree at once (5.14). On v1 what forks faster than we look is frozen first; a SIGKILL to a
    // frozen process counts when it thaws.
    const atOnce = paths['unified'] !== undefined && (await writeIfThere(join(paths['unified'], 'cgroup.kill'), '1'));
    const freezer = paths['freezer'] === undefined ? undefined : join(paths['freezer'], 'freezer.state');
    if (freezer !== undefined && round > 1) await writeIfThere(freezer, 'FROZEN');
    if (!atOnce || freezer !== undefined) signalEach(await processesOf(path), SIGKILL);
    if (freezer !== undefined) await writeIfThere(freezer, 'THAWED');
    await sleep(Math.min(2 ** round, RETRY_MS_MAX));
  }
}

/** Removes the cgroup and those below it. No error when there is none; FailedPrecondition naming processes that stay. */
export async function removeCgroup(path: string): Promise<void> {
  const deadline = performance.now() + REMOVE_WAIT_MS;
  const directories = await cgroupDirectories(path);
  const failures = await Promise.all(directories.map((directory) => removeTree(directory, deadline)));
  const failure = failures.find((error) => error !== undefined);
  if (failure === undefined) return;
  const pids = await processesOf(path);
  const reason = pids.length > 0 ? `processes ${pids.join(', ')} are still in it` : messageOf(failure);
  throw new CairnError('FailedPrecondition', `cgroup ${path} can't be removed: ${reason}`, {
    step: 'linux.cgroup',
    cause: failure,
  });
}

/** Removes the cgroup where nothing is in it: no process, and no cgroup of somebody else's. */
export async function removeEmptyCgroup(path: string): Promise<void> {
  for (const directory of await cgroupDirectories(path)) {
    await rmdir(directory).catch((error: unknown) => {
      if (!['ENOENT', 'EBUSY', 'ENOTEMPTY'].includes(errnoOf(error) ?? '')) throw error;
    });
  }
}

async function removeTree(directory: string, deadline: number): Promise<unknown> {
  for (let attempt = 0; ; attempt++) {
    try {
      await rmdir(directory);
      return undefined;
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'ENOENT') return undefined;
      // EBUSY: processes or cgroups in it, or a process that the kernel has not let go of yet.
      if (code !== 'EBUSY' || performance.now() > deadline) return error;
    }
    const children = await childrenOf(directory);
    const failures = await Promise.all(children.map((child) => removeTree(child, deadline)));
    const failure = failures.find((error) => error !== undefined);
    if (failure !== undefined) return failure;
    if (children.length === 0) await sleep(Math.min(2 ** attempt, RETRY_MS_MAX));
  }
}

async function childrenOf(directory: string): Promise<string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => join(directory, entry.name));
  } catch (error) {
    if (gone(error)) return [];
    throw error;
  }
}

/** Empty when the cgroup is gone. */
async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    // EOPNOTSUPP: a threaded v2 cgroup, whose processes are listed at its domain.
    if (gone(error) || errnoOf(error) === 'EOPNOTSUPP' || errnoOf(error) === 'ENOTSUP') return '';
    throw error;
  }
}

async function writeIfThere(path: string, text: string): Promise<boolean> {
  try {
    await writeFile(path, text, { flag: 'r+' });
    return true;
  } catch (error) {
    if (gone(error)) return false;
    throw error;
  }
}

/** A cgroup that was removed while one of its files was open answers ENODEV. */
function gone(error: unknown): boolean {
  const code = errnoOf(error);
  return code === 'ENOENT' || code === 'ENODEV';
}

function words(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}
