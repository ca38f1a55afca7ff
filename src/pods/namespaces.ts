/** Where a pod's namespaces are pinned, and the making and unmaking of the pins. */
import { mkdir, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { createNamespaces } from '../linux/index.ts';
import { podHostname } from './files.ts';
import type { Pod, PodConfig } from './index.ts';
import { podSysctls } from './sysctls.ts';

/** Every path that a pin of this pod may have, whether the pod has that namespace or not. */
export interface PinPaths {
  readonly network: string;
  readonly ipc: string;
  readonly uts: string;
  readonly pid: string;
  readonly user: string;
}

/** linux/magic.h: what statfs says of a pinned namespace. */
const NSFS_MAGIC = 0x6e736673;

export function pinPathsOf(netnsDirectory: string, directory: string, id: string): PinPaths {
  const pin = (name: string) => join(directory, 'ns', name);
  // The network namespace lies where `ip netns` and CNI plugins look for it.
  return {
    network: join(netnsDirectory, `cairn-${id}`),
    ipc: pin('ipc'),
    uts: pin('uts'),
    pid: pin('pid'),
    user: pin('user'),
  };
}

/** The namespaces of its own. A pod on the host's network has the host's name, and so no UTS namespace either. */
export function ownNamespaces({ namespaces, userNamespace }: PodConfig, pins: PinPaths): Pod['namespaces'] {
  const ownNetwork = namespaces.network !== 'node';
  return {
    network: ownNetwork ? pins.network : undefined,
    uts: ownNetwork ? pins.uts : undefined,
    ipc: namespaces.ipc !== 'node' ? pins.ipc : undefined,
    pid: namespaces.pid === 'pod' ? pins.pid : undefined,
    user: userNamespace ? pins.user : undefined,
  };
}

/** Makes and pins those that need no process. On failure none is left. */
export async function pinNamespaces({ network, ipc, uts, user }: Pod['namespaces'], config: PodConfig): Promise<void> {
  if (network !== undefined) await mkdir(dirname(network), { recursive: true, mode: 0o755 });
  await failpoint('pod.namespaces.pin');
  const hostname = uts === undefined ? undefined : podHostname(config);
  const mappings = config.userNamespace;
  await createNamespaces({
    ...{ network, ipc, uts, hostname, sysctls: podSysctls(config) },
    ...(user !== undefined && mappings && { user: { path: user, mappings } }),
  });
}

export async function isPinned(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === NSFS_MAGIC;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
