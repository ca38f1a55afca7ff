/** run: a pod of its own with one container, in the foreground (its output is ours, its exit code too) or detached. */
import { randomBytes, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { CairnError } from '../base/errors.ts';
import { removePod, streamLogs } from './container-commands.ts';
import { type Context, QUICK_MS } from './context.ts';
import { RUN_LABEL } from './find.ts';
import { pull } from './image-commands.ts';
import { CairnV1, Cri } from './wire.ts';

export interface RunFlags {
  readonly rm?: boolean;
  readonly detach?: boolean;
  readonly name?: string;
  readonly env?: readonly string[];
  readonly workdir?: string;
  readonly hostNetwork?: boolean;
}

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;
const FORWARDED_STOP_SECONDS = 10;
const methods = Cri.RuntimeService.methods;

/** Returns the container's exit code; 0 when detached. */
export async function runCommandOf(
  context: Context,
  image: string,
  command: readonly string[],
  flags: RunFlags,
): Promise<number> {
  const name = flags.name ?? `run-${randomBytes(4).toString('hex')}`;
  if (!NAME.test(name))
    throw new CairnError('InvalidArgument', `--name ${JSON.stringify(name)}: letters, digits, _ . and -, at most 63`);
  await ensureImage(context, image);
  const config = await podConfig(context, name, flags.hostNetwork ?? false);
  const { podSandboxId } = await context.rpc.call(methods.runPodSandbox, { config }, { signal: context.signal });
  let containerId: string;
  try {
    containerId = await startContainer(context, podSandboxId, config, containerConfig(name, image, command, flags));
  } catch (error) {
    await removePod({ ...context, signal: AbortSignal.timeout(QUICK_MS) }, podSandboxId);
    throw error;
  }
  if (flags.detach) {
    context.print(containerId);
    return 0;
  }
  return follow(context, podSandboxId, containerId, flags.rm ?? false);
}

async function ensureImage(context: Context, image: string): Promise<void> {
  const { imageStatus } = Cri.ImageService.methods;
  const found = await context.rpc.call(
    imageStatus,
    { image: { image } },
    { signal: context.signal, timeoutMs: QUICK_MS },
  );
  if (!found.image) await pull(context, image, {});
}

async function podConfig(context: Context, name: string, hostNetwork: boolean): Promise<Cri.IPodSandboxConfig> {
  const { daemon } = await context.rpc.call(
    CairnV1.Cairn.methods.getInfo,
    {},
    { signal: context.signal, timeoutMs: QUICK_MS },
  );
  if (!daemon) throw new CairnError('Internal', 'cairnd does not say where its files are');
  const uid = randomUUID();
  const network = hostNetwork ? Cri.NamespaceMode.NODE : Cri.NamespaceMode.POD;
  return {
    metadata: { name, namespace: 'default', uid, attempt: 0 },
    hostname: hostNetwork ? '' : name.slice(0, 63),
    // Inside `logs` the directory is Cairn's own: it goes with the pod.
    logDirectory: join(daemon.root, 'logs', uid),
    labels: { [RUN_LABEL]: 'true' },
    linux: {
      securityContext: { namespaceOptions: { network, pid: Cri.NamespaceMode.CONTAINER, ipc: Cri.NamespaceMode.POD } },
    },
  };
}

function containerConfig(
  name: string,
  image: string,
  command: readonly string[],
  flags: RunFlags,
): Cri.IContainerConfig {
  const envs = (flags.env ?? []).map((entry) => {
    const equals = entry.indexOf('=');
    // `-e NAME` hands on our own value, as docker does.
    if (equals < 0) return { key: entry, value: Buffer.from(process.env[entry] ?? '') };
    return { key: entry.slice(0, equals), value: Buffer.from(entry.slice(equals + 1)) };
  });
  return {
    metadata: { name, attempt: 0 },
    image: { image, userSpecifiedImage: image },
    args: [...command],
    workingDir: flags.workdir ?? '',
    envs,
    logPath: `${name}.log`,
    labels: { [RUN_LABEL]: 'true' },
    linux: { securityContext: { namespaceOptions: { pid: Cri.NamespaceMode.CONTAINER } } },
  };
}

async function startContainer(
  context: Context,
  podSandboxId: string,
  sandboxConfig: Cri.IPodSandboxConfig,
  config: Cri.IContainerConfig,
): Promise<string> {
  const { signal, rpc } = context;
  const { containerId } = await rpc.call(methods.createContainer, { podSandboxId, config, sandboxConfig }, { signal });
  await rpc.call(methods.startContainer, { containerId }, { signal });
  return containerId;
}

/** Hands on the output until the end; Ctrl-C stops the container. */
async function follow(context: Context, podSandboxId: string, containerId: string, remove: boolean): Promise<number> {
  const unbound = { ...context, signal: new AbortController().signal };
  const stop = () => {
    const request = { containerId, timeout: FORWARDED_STOP_SECONDS };
    context.rpc
      .call(methods.stopContainer, request)
      .catch((error: Error) => process.stderr.write(`cairn: ${error.message}\n`));
  };
  context.signal.addEventListener('abort', stop, { once: true });
  await streamLogs(unbound, containerId, { follow: true });
  context.signal.removeEventListener('abort', stop);
  const { status } = await context.rpc.call(methods.containerStatus, { containerId }, { timeoutMs: QUICK_MS });
  if (remove) await removePod(unbound, podSandboxId);
  if (status?.reason && status.reason !== 'Completed' && status.reason !== 'Error') {
    process.stderr.write(`cairn: ${status.reason}${status.message ? `: ${status.message}` : ''}\n`);
  }
  return status?.exitCode ?? 1;
}
