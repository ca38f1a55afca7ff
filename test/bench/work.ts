/** The work that is measured, as CRI calls: the same for every runtime. Times in milliseconds. */
import { ImageService, NamespaceMode, RuntimeService } from '../../src/generated/cri.js';
import type { RpcClient } from '../../src/rpc/index.ts';

const runtime = RuntimeService.methods;
const images = ImageService.methods;

export interface PodTimes {
  readonly RunPodSandbox: number;
  readonly 'CreateContainer + StartContainer': number;
  readonly 'pod and container': number;
  readonly 'ExecSync of true': number;
  readonly StopContainer: number;
  readonly 'StopPodSandbox + RemovePodSandbox': number;
}

async function timed<T>(work: () => Promise<T>): Promise<[number, T]> {
  const startedAt = performance.now();
  const value = await work();
  return [performance.now() - startedAt, value];
}

export async function runOnePod(rpc: RpcClient, image: string, name: string, cgroupParent: string): Promise<PodTimes> {
  const namespaceOptions = { pid: NamespaceMode.CONTAINER };
  const config = {
    metadata: { name, namespace: 'bench', uid: name, attempt: 0 },
    linux: { cgroupParent, securityContext: { namespaceOptions } },
  };
  const [run, { podSandboxId }] = await timed(() => rpc.call(runtime.runPodSandbox, { config }));
  const container = {
    metadata: { name, attempt: 0 },
    image: { image },
    command: ['sleep', '1000'],
    linux: { securityContext: { namespaceOptions } },
  };
  const [start, containerId] = await timed(async () => {
    const created = await rpc.call(runtime.createContainer, { podSandboxId, config: container, sandboxConfig: config });
    await rpc.call(runtime.startContainer, { containerId: created.containerId });
    return created.containerId;
  });
  const [exec] = await timed(() => rpc.call(runtime.execSync, { containerId, cmd: ['true'], timeout: 10 }));
  const [stop] = await timed(() => rpc.call(runtime.stopContainer, { containerId, timeout: 0 }));
  const [remove] = await timed(async () => {
    await rpc.call(runtime.stopPodSandbox, { podSandboxId });
    await rpc.call(runtime.removePodSandbox, { podSandboxId });
  });
  return {
    RunPodSandbox: run,
    'CreateContainer + StartContainer': start,
    'pod and container': run + start,
    'ExecSync of true': exec,
    StopContainer: stop,
    'StopPodSandbox + RemovePodSandbox': remove,
  };
}

export async function pullImage(rpc: RpcClient, image: string): Promise<number> {
  const [time] = await timed(() => rpc.call(images.pullImage, { image: { image } }));
  return time;
}

export async function removeImage(rpc: RpcClient, image: string): Promise<void> {
  await rpc.call(images.removeImage, { image: { image } });
}

export async function removeAllPods(rpc: RpcClient): Promise<void> {
  const { items } = await rpc.call(runtime.listPodSandbox, {});
  for (const { id } of items) {
    await rpc.call(runtime.stopPodSandbox, { podSandboxId: id });
    await rpc.call(runtime.removePodSandbox, { podSandboxId: id });
  }
}
