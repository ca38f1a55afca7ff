/** Where the processes of a pod live in the cgroup tree. */
import { basename, posix } from 'node:path';
import { CairnError } from '../base/errors.ts';
import { slicePath } from '../linux/index.ts';

export type CgroupDriver = 'cgroupfs' | 'systemd';

/** In the form that an OCI runtime's `cgroupsPath` has: `PARENT/ID`, or `SLICE:cairn:ID`, for which systemd makes `cairn-ID.scope` in that slice. */
export function cgroupsPath(driver: CgroupDriver, parent: string, id: string): string {
  return driver === 'systemd' ? `${basename(parent)}:cairn:${id}` : posix.join('/', parent, id);
}

/**
 * The pod's own cgroup as a path. The kubelet names a slice by its whole path (`/kubepods.slice/kubepods-pod1.slice`),
 * others by its name; the name says where it is. InvalidArgument for what systemd could not have made.
 */
export function podCgroup(driver: CgroupDriver, parent: string): string {
  if (driver === 'cgroupfs') return posix.join('/', parent);
  const path = slicePath(basename(parent));
  if (path !== undefined) return path;
  const message = `cgroup_parent ${JSON.stringify(parent)}: with the systemd driver it must be a slice (kubepods-pod1.slice)`;
  throw new CairnError('InvalidArgument', message, { step: 'pod.cgroup' });
}
