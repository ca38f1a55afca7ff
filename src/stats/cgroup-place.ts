/** Where the cgroups of pods and containers are: directories in the cgroup tree, whichever driver made them. */
import { posix } from 'node:path';
import { cgroupPaths } from '../linux/index.ts';
import type { CgroupDriver } from '../pods/index.ts';
import type { CgroupDirectories } from './cgroup-files.ts';

/** The cgroup of a container, or of a pod's init process: a child of the pod's; with systemd it is a scope. */
export function cgroupOf(driver: CgroupDriver, parent: string, id: string): string {
  return posix.join('/', parent, driver === 'systemd' ? `cairn-${id}.scope` : id);
}

export function cgroupDirectories(path: string): Promise<CgroupDirectories> {
  return cgroupPaths(path);
}
