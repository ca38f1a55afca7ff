/**
 * Standard input, output and error of a process in a user namespace.
 *
 * They are pipes of the monitor's or the daemon's, and so of root. Who is in them may use the descriptors, but not open
 * `/dev/stdout` anew, as images do that link their log files there. Outside a user namespace the runtime gives them to the
 * container's user; inside it may not, so it is done from here.
 */
import { chown, stat } from 'node:fs/promises';
import type { StdioOwner } from '../task/index.ts';
import type { IdMappingSpec, RuntimeSpec } from './spec/oci.ts';

const STDIO = [0, 1, 2] as const;

/** The host's IDs of the container's user; undefined without a user namespace. */
export function stdioOwner({ process, linux }: RuntimeSpec): StdioOwner | undefined {
  const uid = hostOf(linux.uidMappings, process.user.uid);
  const gid = hostOf(linux.gidMappings, process.user.gid);
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

function hostOf(mappings: readonly IdMappingSpec[] | undefined, id: number): number | undefined {
  const range = mappings?.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  return range && range.hostID + id - range.containerID;
}

/** Of a process that waits for its start. */
export async function giveStdio(pid: number, owner: StdioOwner | undefined): Promise<void> {
  if (!owner) return;
  for (const number of STDIO) {
    const path = `/proc/${pid}/fd/${number}`;
    // Nothing but a pipe: what else it may be (/dev/null, a terminal) is not this container's alone.
    if ((await stat(path)).isFIFO()) await chown(path, owner.uid, owner.gid);
  }
}
