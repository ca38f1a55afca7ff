/**
 * Standard input, output and error of a process in a user namespace.
 *
 * They are pipes of the monitor's, and so of root. Who is in them may use the descriptors, but not open `/dev/stdout` anew, as
 * images do that link their log files there. Outside a user namespace the runtime gives them to the container's user; inside it may
 * not, so it is done from here, while the process waits for its start.
 */
import { chown, stat } from 'node:fs/promises';
import { hostId } from '../linux/index.ts';
import type { PodConfig } from '../pods/index.ts';
import type { ContainerUser } from './index.ts';

const STDIO = [0, 1, 2] as const;

export async function giveStdio(pid: number, user: ContainerUser | undefined, pod: PodConfig): Promise<void> {
  if (!pod.userNamespace || !user) return;
  const uid = hostId(pod.userNamespace.uids, user.uid);
  const gid = hostId(pod.userNamespace.gids, user.gid);
  if (uid === undefined || gid === undefined) return;
  for (const number of STDIO) {
    const path = `/proc/${pid}/fd/${number}`;
    // Nothing but a pipe: what else it may be (/dev/null, a terminal) is not this container's alone.
    if ((await stat(path)).isFIFO()) await chown(path, uid, gid);
  }
}
