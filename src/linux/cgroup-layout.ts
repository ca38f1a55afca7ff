/**
 * Which cgroup hierarchies this host has, and where.
 *
 * `v2`: one unified hierarchy. `v1`: one hierarchy a controller (or a few together). `hybrid`: v1 plus a unified one that
 * has none (or few) of the controllers, for systemd's bookkeeping. A cgroup's path (`/kubepods/pod1`) is the same in all of
 * them; it names one directory in each.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '../base/errors.ts';
import { type MountEntry, mountInfo } from './mount-info.ts';

export type CgroupMode = 'v1' | 'hybrid' | 'v2';

export interface CgroupLayout {
  readonly mode: CgroupMode;
  /**
   * Mount points by controller (`memory`, `cpu`, ...; a named v1 hierarchy by its name, `systemd`); the v2 hierarchy is
   * `unified`. Controllers that are mounted together share their mount point.
   */
  readonly hierarchies: ReadonlyMap<string, string>;
}

let known: Promise<CgroupLayout> | undefined;

/** Read once: hierarchies don't move under a running host. FailedPrecondition when none is mounted. */
export function cgroupLayout(): Promise<CgroupLayout> {
  known ??= Promise.all([mountInfo(), readFile('/proc/cgroups', 'utf8').catch(() => '')])
    .then(([mounts, controllers]) => layoutOf(mounts, parseControllers(controllers)))
    .catch((error: unknown) => {
      known = undefined;
      throw error;
    });
  return known;
}

export async function cgroupMode(): Promise<CgroupMode> {
  return (await cgroupLayout()).mode;
}

/** The directory of a cgroup for each hierarchy's key (see `CgroupLayout`). Nothing is created. */
export async function cgroupPaths(path: string): Promise<Readonly<Record<string, string>>> {
  const relative = checkPath(path);
  const { hierarchies } = await cgroupLayout();
  return Object.fromEntries([...hierarchies].map(([controller, root]) => [controller, join(root, relative)]));
}

/** As above, each directory once. */
export async function cgroupDirectories(path: string): Promise<string[]> {
  return [...new Set(Object.values(await cgroupPaths(path)))];
}

/** Refuses what would name the root or leave the hierarchy. */
export function checkPath(unsafePath: string): string {
  const parts = unsafePath.split('/').filter(Boolean);
  if (parts.length === 0 || parts.some((part) => part === '.' || part === '..' || part.includes('\0'))) {
    throw new CairnError('InvalidArgument', `cgroup path ${JSON.stringify(unsafePath)}: not a path below the root`);
  }
  return parts.join('/');
}

/** The names in /proc/cgroups: the controllers that this kernel was built with. */
export function parseControllers(text: string): Set<string> {
  const names = text.split('\n').map((line) => line.split('\t')[0] ?? '');
  return new Set(names.filter((name) => name !== '' && !name.startsWith('#')));
}

export function layoutOf(mounts: readonly MountEntry[], controllers: ReadonlySet<string>): CgroupLayout {
  const hierarchies = new Map<string, string>();
  const add = (key: string, target: string) => {
    // The first mount counts: a later one of the same hierarchy is somebody's view of it.
    if (!hierarchies.has(key)) hierarchies.set(key, target);
  };
  for (const { type, superOptions, target, root } of mounts) {
    if (root !== '/') continue;
    if (type === 'cgroup2') add('unified', target);
    if (type !== 'cgroup') continue;
    for (const option of superOptions) {
      if (option.startsWith('name=')) add(option.slice(5), target);
      else if (controllers.has(option)) add(option, target);
    }
  }
  if (hierarchies.size === 0) {
    throw new CairnError('FailedPrecondition', 'no cgroup hierarchy is mounted; mount cgroup2 on /sys/fs/cgroup');
  }
  const unified = hierarchies.has('unified');
  const mode = !unified ? 'v1' : hierarchies.size === 1 ? 'v2' : 'hybrid';
  return { mode, hierarchies };
}

/** `/proc/PID/cgroup`: the path of a process in each hierarchy, by the keys of `CgroupLayout`. */
export function parseProcessCgroups(text: string): Map<string, string> {
  const paths = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, names, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (names === undefined || path === undefined) continue;
    if (names === '') paths.set('unified', path);
    for (const name of names.split(',').filter(Boolean)) paths.set(name.replace(/^name=/, ''), path);
  }
  return paths;
}
