/** ContainerStats, PodSandboxStats, their lists and streams; ListMetricDescriptors, ListPodSandboxMetrics and its stream. */
import type { ContainerStatsFilter, PodSandboxStatsFilter, RuntimeService } from '../generated/cri.js';
import type { Handlers } from '../rpc/index.ts';
import type { ContainerStatsFilter as DomainContainerFilter, PodStatsFilter } from '../stats/index.ts';
import { filterId, find } from './ids.ts';
import type { CriContext } from './index.ts';
import { renderContainerStats, renderPodMetrics, renderPodStats } from './render-stats.ts';

export function statsHandlers(context: CriContext): Handlers<typeof RuntimeService> {
  const { pods, containers, stats } = context;

  async function* containerStats(filter: ContainerStatsFilter | null) {
    const selected = containerFilter(filter, context);
    if (selected === undefined) return;
    for await (const batch of stats.containers(selected)) yield batch.map(renderContainerStats);
  }

  async function* podStats(filter: PodSandboxStatsFilter | null) {
    const selected = podFilter(filter, context);
    if (selected === undefined) return;
    for await (const batch of stats.pods(selected)) yield batch.map(renderPodStats);
  }

  async function* podMetrics() {
    for await (const batch of stats.metrics()) yield batch.map(renderPodMetrics);
  }

  return {
    async containerStats({ containerId }) {
      return { stats: renderContainerStats(await stats.container(find(containers, 'container_id', containerId).id)) };
    },
    async listContainerStats({ filter }) {
      return { stats: (await Array.fromAsync(containerStats(filter))).flat() };
    },
    async *streamContainerStats({ filter }) {
      for await (const batch of containerStats(filter)) yield { containerStats: batch };
    },

    async podSandboxStats({ podSandboxId }) {
      return { stats: renderPodStats(await stats.pod(find(pods, 'pod_sandbox_id', podSandboxId).id)) };
    },
    async listPodSandboxStats({ filter }) {
      return { stats: (await Array.fromAsync(podStats(filter))).flat() };
    },
    async *streamPodSandboxStats({ filter }) {
      for await (const batch of podStats(filter)) yield { podSandboxStats: batch };
    },

    listMetricDescriptors() {
      return {
        descriptors: stats
          .metricDescriptors()
          .map(({ name, help, labelKeys }) => ({ name, help, labelKeys: [...labelKeys] })),
      };
    },
    async listPodSandboxMetrics() {
      return { podMetrics: (await Array.fromAsync(podMetrics())).flat() };
    },
    async *streamPodSandboxMetrics() {
      for await (const batch of podMetrics()) yield { podSandboxMetrics: batch };
    },
  };
}

/** Undefined when the filter selects nothing. */
function containerFilter(
  filter: ContainerStatsFilter | null,
  { pods, containers }: CriContext,
): DomainContainerFilter | undefined {
  const id = filter?.id ? filterId(containers, filter.id) : undefined;
  const podId = filter?.podSandboxId ? filterId(pods, filter.podSandboxId) : undefined;
  if ((filter?.id && id === undefined) || (filter?.podSandboxId && podId === undefined)) return undefined;
  return {
    ...(id !== undefined && { id }),
    ...(podId !== undefined && { podId }),
    labels: filter?.labelSelector ?? {},
  };
}

function podFilter(filter: PodSandboxStatsFilter | null, { pods }: CriContext): PodStatsFilter | undefined {
  const id = filter?.id ? filterId(pods, filter.id) : undefined;
  if (filter?.id && id === undefined) return undefined;
  return { ...(id !== undefined && { id }), labels: filter?.labelSelector ?? {} };
}
