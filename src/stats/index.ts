/**
 * What containers and pods use: CPU, memory, swap, I/O, processes, their own layer, their network; and the same as
 * metrics with the names that cAdvisor made standard.
 *
 * Everything is read when it is asked for, from cgroups (v1, v2, and the hybrid of both), /proc and the snapshotter; no
 * timer runs between requests. Only what takes long (the size of a layer) is kept for a while, with the time it was
 * measured. What the host can't tell is absent, never zero.
 *
 * Lists have what runs: running containers, ready pods. A single container that does not run has the size of its layer.
 * A pod's numbers are those of its own cgroup, which the kubelet makes; where several pods share one (no
 * `cgroup_parent` given), they are the sum over its containers, and then there is no pressure.
 */
import type { Container } from '../containers/index.ts';
import type { Pod } from '../pods/index.ts';
import type { InterfaceUsage } from './network.ts';
import type { Pressure } from './pressure.ts';

export interface CpuStats {
  readonly atNs: bigint;
  /** CPU time since the start, over all cores. */
  readonly usageNs: number;
  /** The same, per second, over the last some ten seconds; undefined at the first asking for some time. */
  readonly usageNanoCores: number | undefined;
  readonly pressure: Pressure | undefined;
}

export interface MemoryStats {
  readonly atNs: bigint;
  readonly usageBytes: number;
  readonly workingSetBytes: number;
  /** The limit less the working set; undefined without a limit. */
  readonly availableBytes: number | undefined;
  readonly rssBytes: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  readonly pressure: Pressure | undefined;
}

export interface SwapStats {
  readonly atNs: bigint;
  readonly usageBytes: number;
  readonly availableBytes: number | undefined;
}

export interface IoStats {
  readonly atNs: bigint;
  readonly pressure: Pressure;
}

/** What the container wrote into its own layer. */
export interface LayerStats {
  readonly atNs: bigint;
  /** A directory on the file system that the layer is on. */
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly inodesUsed: number;
}

export interface ContainerStats {
  readonly container: Container;
  readonly cpu: CpuStats | undefined;
  readonly memory: MemoryStats | undefined;
  readonly swap: SwapStats | undefined;
  readonly io: IoStats | undefined;
  readonly writableLayer: LayerStats | undefined;
}

export interface NetworkStats {
  readonly atNs: bigint;
  readonly defaultInterface: InterfaceUsage;
  /** All the others, loopback too. */
  readonly interfaces: readonly InterfaceUsage[];
}

export interface PodStats {
  readonly pod: Pod;
  readonly cpu: CpuStats | undefined;
  readonly memory: MemoryStats | undefined;
  readonly io: IoStats | undefined;
  /** Undefined with the host's network: those counters are not the pod's. */
  readonly network: NetworkStats | undefined;
  readonly processes: { readonly atNs: bigint; readonly count: number } | undefined;
  readonly containers: readonly ContainerStats[];
}

export interface MetricDescriptor {
  readonly name: string;
  readonly help: string;
  readonly labelKeys: readonly string[];
}

export interface Metric {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  /** One for each of the descriptor's keys, in their order. */
  readonly labelValues: readonly string[];
  /** A whole number: CRI carries no others, so seconds are whole seconds. */
  readonly value: number;
}

export interface PodMetrics {
  readonly podId: string;
  /** Of the pod as a whole: the label `container` is empty. */
  readonly metrics: readonly Metric[];
  readonly containers: readonly { readonly containerId: string; readonly metrics: readonly Metric[] }[];
}

export interface ContainerStatsFilter {
  readonly id?: string;
  readonly podId?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface PodStatsFilter {
  readonly id?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Lists come in batches, each read only when it is asked for: a stream sends one and lets others at the processor. */
export interface StatsService extends Disposable {
  /** By full ID or unambiguous prefix. NotFound, or InvalidArgument when the prefix is ambiguous. */
  container(id: string): Promise<ContainerStats>;
  containers(filter: ContainerStatsFilter): AsyncGenerator<ContainerStats[], void, undefined>;
  pod(id: string): Promise<PodStats>;
  pods(filter: PodStatsFilter): AsyncGenerator<PodStats[], void, undefined>;
  /** All that `metrics` may send. */
  metricDescriptors(): readonly MetricDescriptor[];
  metrics(): AsyncGenerator<PodMetrics[], void, undefined>;
}

export type { InterfaceUsage } from './network.ts';
export type { Pressure, Stall } from './pressure.ts';
export { createStatsService, type StatsServiceOptions } from './service.ts';
