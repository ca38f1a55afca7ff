/** ps, pods, logs, stop, rm. */
import { CairnError } from '../base/errors.ts';
import { type Context, QUICK_MS } from './context.ts';
import { findContainer, findPod, listAllContainers, listAllPods, RUN_LABEL } from './find.ts';
import { humanAge, isoTime, renderTable, shortId, toJson } from './format.ts';
import { CairnV1, Cri } from './wire.ts';

const { ContainerState, PodSandboxState } = Cri;
const methods = Cri.RuntimeService.methods;

export interface ListFlags {
  readonly all?: boolean;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

export async function psCommand(context: Context, flags: ListFlags): Promise<undefined> {
  const pods = new Map((await listAllPods(context)).map((pod) => [pod.id, pod]));
  const all = await listAllContainers(context);
  const containers = flags.all ? all : all.filter((one) => one.state === ContainerState.CONTAINER_RUNNING);
  const podName = (one: Cri.Container) => pods.get(one.podSandboxId)?.metadata?.name ?? '';
  if (flags.json) {
    const rows = containers.map((one) => ({
      id: one.id,
      name: one.metadata?.name ?? '',
      attempt: one.metadata?.attempt ?? 0,
      state: containerState(one.state),
      image: one.image?.image ?? '',
      imageId: one.imageId,
      podId: one.podSandboxId,
      pod: podName(one),
      createdAt: isoTime(one.createdAt),
      labels: one.labels,
    }));
    context.print(toJson(rows));
  } else if (flags.quiet) {
    for (const one of containers) context.print(shortId(one.id));
  } else {
    const columns = [
      { title: 'CONTAINER', value: (one: Cri.Container) => shortId(one.id) },
      { title: 'NAME', value: (one: Cri.Container) => one.metadata?.name ?? '' },
      { title: 'STATE', value: (one: Cri.Container) => containerState(one.state) },
      { title: 'IMAGE', value: (one: Cri.Container) => one.image?.userSpecifiedImage || one.image?.image || '' },
      { title: 'CREATED', value: (one: Cri.Container) => humanAge(one.createdAt) },
      { title: 'POD', value: podName },
    ];
    context.print(renderTable(columns, containers));
  }
}

export async function podsCommand(context: Context, flags: ListFlags): Promise<undefined> {
  const pods = await listAllPods(context);
  if (flags.json) {
    const rows = pods.map((pod) => ({
      id: pod.id,
      name: pod.metadata?.name ?? '',
      namespace: pod.metadata?.namespace ?? '',
      uid: pod.metadata?.uid ?? '',
      state: podState(pod.state),
      createdAt: isoTime(pod.createdAt),
      labels: pod.labels,
    }));
    context.print(toJson(rows));
  } else if (flags.quiet) {
    for (const pod of pods) context.print(shortId(pod.id));
  } else {
    const columns = [
      { title: 'POD', value: (pod: Cri.PodSandbox) => shortId(pod.id) },
      { title: 'NAME', value: (pod: Cri.PodSandbox) => pod.metadata?.name ?? '' },
      { title: 'NAMESPACE', value: (pod: Cri.PodSandbox) => pod.metadata?.namespace ?? '' },
      { title: 'STATE', value: (pod: Cri.PodSandbox) => podState(pod.state) },
      { title: 'CREATED', value: (pod: Cri.PodSandbox) => humanAge(pod.createdAt) },
    ];
    context.print(renderTable(columns, pods));
  }
}

export interface LogsFlags {
  readonly follow?: boolean;
  readonly tail?: number;
  readonly timestamps?: boolean;
}

/** Writes a container's output to ours, stream by stream. */
export async function streamLogs(context: Context, containerId: string, flags: LogsFlags): Promise<void> {
  const { logs } = CairnV1.Cairn.methods;
  const request = { containerId, follow: flags.follow ?? false, tailLines: flags.tail };
  const unfinished = new Set<number>();
  for await (const { lines } of context.rpc.stream(logs, request, { signal: context.signal })) {
    for (const line of lines) {
      const output = line.stream === CairnV1.LogStream.LOG_STREAM_STDERR ? process.stderr : process.stdout;
      // A long line comes in pieces; what has no end yet (a prompt) is shown at once.
      if (flags.timestamps && !unfinished.has(line.stream)) output.write(`${isoTime(line.time)} `);
      if (line.partial) unfinished.add(line.stream);
      else unfinished.delete(line.stream);
      output.write(line.text);
      if (!line.partial) output.write('\n');
    }
  }
}

export async function logsCommand(context: Context, text: string, flags: LogsFlags): Promise<undefined> {
  const container = await findContainer(context, text);
  await streamLogs(context, container.id, flags);
}

export async function stopCommand(
  context: Context,
  texts: readonly string[],
  timeoutSeconds: number,
): Promise<undefined> {
  for (const text of texts) {
    const { id } = await findContainer(context, text);
    await context.rpc.call(
      methods.stopContainer,
      { containerId: id, timeout: timeoutSeconds },
      { signal: context.signal },
    );
    context.print(text);
  }
}

export interface RemoveFlags {
  readonly force?: boolean;
  readonly pod?: boolean;
}

/** Removes containers, with the pod that `cairn run` made for one; with `--pod`, whole pods. */
export async function rmCommand(context: Context, texts: readonly string[], flags: RemoveFlags): Promise<undefined> {
  for (const text of texts) {
    if (flags.pod) {
      await removePod(context, (await findPod(context, text)).id);
    } else {
      const container = await findContainer(context, text);
      if (container.state === ContainerState.CONTAINER_RUNNING && !flags.force) {
        throw new CairnError('FailedPrecondition', `container ${text} is running: stop it first, or use --force`);
      }
      await removeContainer(context, container);
    }
    context.print(text);
  }
}

export async function removeContainer(context: Context, container: Cri.Container): Promise<void> {
  const pod = (await listAllPods(context)).find((each) => each.id === container.podSandboxId);
  if (pod?.labels[RUN_LABEL] !== undefined) await removePod(context, pod.id);
  else await context.rpc.call(methods.removeContainer, { containerId: container.id }, { signal: context.signal });
}

export async function removePod(context: Context, podSandboxId: string): Promise<void> {
  await context.rpc.call(methods.stopPodSandbox, { podSandboxId }, { signal: context.signal });
  await context.rpc.call(
    methods.removePodSandbox,
    { podSandboxId },
    { signal: context.signal, timeoutMs: QUICK_MS * 6 },
  );
}

export function containerState(state: number): string {
  const names: Readonly<Record<number, string>> = {
    [ContainerState.CONTAINER_CREATED]: 'created',
    [ContainerState.CONTAINER_RUNNING]: 'running',
    [ContainerState.CONTAINER_EXITED]: 'exited',
  };
  return names[state] ?? 'unknown';
}

export function podState(state: number): string {
  return state === PodSandboxState.SANDBOX_READY ? 'ready' : 'notready';
}
