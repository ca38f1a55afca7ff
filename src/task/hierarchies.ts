/** Which cgroup file systems the host has: one unified (v2), or one a controller (v1), perhaps with a unified one beside. */
import { CairnError } from '../base/errors.ts';
import { mountInfo } from '../linux/index.ts';

export interface Hierarchies {
  readonly version: 1 | 2;
  /** Mount points by controller (`memory`, `name=systemd`); the unified one is `''`. */
  readonly mounts: ReadonlyMap<string, string>;
  /** The mount points, each once. */
  readonly roots: readonly string[];
  /** Where processes are looked for. */
  readonly main: string;
}

const MAIN_PREFERENCE = ['pids', 'name=systemd', 'memory', 'freezer'];
const NO_CONTROLLER =
  /^(?:rw|ro|relatime|noprefix|xattr|clone_children|release_agent=.*|nsdelegate|memory_recursiveprot|.*=.*)$/;

let known: Promise<Hierarchies> | undefined;

/** Asked once: they are mounted at boot and stay. */
export function cgroupHierarchies(): Promise<Hierarchies> {
  known ??= mountInfo().then(chooseHierarchies);
  return known;
}

interface CgroupMount {
  readonly type: string;
  readonly target: string;
  readonly superOptions: readonly string[];
}

export function chooseHierarchies(table: readonly CgroupMount[]): Hierarchies {
  const mounts = new Map<string, string>();
  for (const { type, target, superOptions } of table) {
    if (type === 'cgroup2') mounts.set('', target);
    if (type !== 'cgroup') continue;
    for (const option of superOptions) {
      if (option.startsWith('name=') || !NO_CONTROLLER.test(option)) mounts.set(option, target);
    }
  }
  const unified = mounts.get('');
  const roots = [...new Set(mounts.values())];
  if (unified !== undefined && roots.length === 1) return { version: 2, mounts, roots, main: unified };
  const main = MAIN_PREFERENCE.map((name) => mounts.get(name)).find((root) => root !== undefined);
  if (main === undefined) {
    throw new CairnError('FailedPrecondition', 'no cgroup file system is mounted', { step: 'task.cgroups' });
  }
  return { version: 1, mounts, roots, main };
}
