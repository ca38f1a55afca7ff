/** Where the processes of a pod live in the cgroup tree, in the form that an OCI runtime's `cgroupsPath` has. */
import { basename, posix } from 'node:path';

export type CgroupDriver = 'cgroupfs' | 'systemd';

/** `PARENT/ID`, or `SLICE:cairn:ID` for systemd, which makes `cairn-ID.scope` in that slice. */
export function cgroupsPath(driver: CgroupDriver, parent: string, id: string): string {
  return driver === 'systemd' ? `${basename(parent)}:cairn:${id}` : posix.join('/', parent, id);
}
