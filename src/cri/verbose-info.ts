/**
 * The `info` of a verbose status, under the keys of containerd's answer: `crictl inspect` shows it, and tools of the node
 * find processes, namespaces and mounts by it (`.info.pid`, `.info.runtimeSpec.linux.namespaces`).
 */
import { isCairnError } from '../base/errors.ts';
import type { Container, ContainerService } from '../containers/index.ts';
import type { Pod } from '../pods/index.ts';
import { info } from './render.ts';

/** What runs the containers: an OCI runtime, watched by conmon. */
const RUNTIME_TYPE = 'oci';
const SNAPSHOTTER = 'overlay';
/** The names that the OCI runtime spec has for them. */
const NAMESPACE_TYPES = { network: 'network', ipc: 'ipc', uts: 'uts', pid: 'pid', user: 'user' } as const;

interface Runtime {
  /** The handler in effect. */
  readonly handler: string;
}

export async function containerInfo(
  container: Container,
  containers: ContainerService,
  { handler }: Runtime,
): Promise<{ info: string }> {
  const { id, podId, pid, config, imageId } = container;
  const { name, attempt, image, userSpecifiedImage } = config;
  const runtimeSpec = await containers.runtimeSpec(id).catch((error: unknown) => {
    if (isCairnError(error, 'NotFound')) return null;
    throw error;
  });
  return info({
    sandboxID: podId,
    pid: pid ?? 0,
    removing: false,
    image: imageId,
    snapshotKey: id,
    snapshotter: SNAPSHOTTER,
    runtimeType: RUNTIME_TYPE,
    runtimeOptions: { handler },
    config: { ...config, metadata: { name, attempt }, image: { image, user_specified_image: userSpecifiedImage } },
    runtimeSpec,
  });
}

/**
 * A sandbox has no process of its own. Whoever asks for its PID wants to get into its namespaces: there the PID of one of its
 * containers leads as well, 0 while none runs.
 */
export function podInfo(pod: Pod, members: readonly Container[], { handler }: Runtime): { info: string } {
  const { id, config, directory, networkResult } = pod;
  const running = members
    .filter((one) => one.state === 'running')
    .toSorted((a, b) => (a.createdAtNs < b.createdAtNs ? -1 : 1));
  const namespaces = Object.entries(NAMESPACE_TYPES).flatMap(([key, type]) => {
    const path = pod.namespaces[key as keyof typeof NAMESPACE_TYPES];
    return path === undefined ? [] : [{ type, path }];
  });
  return info({
    sandboxID: id,
    pid: running[0]?.pid ?? 0,
    processStatus: pod.state === 'ready' ? 'running' : 'deleted',
    netNamespaceClosed: pod.state !== 'ready',
    // No image and no snapshot: there is no pause container.
    image: '',
    snapshotKey: '',
    snapshotter: '',
    runtimeHandler: config.runtimeHandler,
    runtimeType: RUNTIME_TYPE,
    runtimeOptions: { handler },
    config,
    runtimeSpec: {
      hostname: config.hostname,
      annotations: config.annotations,
      linux: { namespaces, cgroupsPath: config.cgroupParent },
    },
    cniResult: networkResult ?? null,
    directory,
  });
}
