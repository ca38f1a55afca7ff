/** Usage and metrics as CRI shows them. What was not measured is absent. */
import {
  type IContainerMetrics,
  type IContainerStats,
  type ICpuUsage,
  type IIoUsage,
  type IMemoryUsage,
  type IMetric,
  type INetworkInterfaceUsage,
  type IPodSandboxMetrics,
  type IPodSandboxStats,
  type IPsiData,
  type IPsiStats,
  MetricType,
} from '../generated/cri.js';
import type {
  ContainerStats,
  CpuStats,
  InterfaceUsage,
  IoStats,
  MemoryStats,
  Metric,
  PodMetrics,
  PodStats,
  Pressure,
  Stall,
} from '../stats/index.ts';
import { long } from './render.ts';

export function renderContainerStats(stats: ContainerStats): IContainerStats {
  const { container, cpu, memory, swap, io, writableLayer } = stats;
  const { id, config } = container;
  const { name, attempt, labels, annotations } = config;
  return {
    attributes: { id, metadata: { name, attempt }, labels, annotations },
    cpu: cpu && renderCpu(cpu),
    memory: memory && renderMemory(memory),
    swap: swap && {
      timestamp: long(swap.atNs),
      swapUsageBytes: { value: swap.usageBytes },
      swapAvailableBytes: optional(swap.availableBytes),
    },
    io: io && renderIo(io),
    writableLayer: writableLayer && {
      timestamp: long(writableLayer.atNs),
      fsId: { mountpoint: writableLayer.mountpoint },
      usedBytes: { value: writableLayer.usedBytes },
      inodesUsed: { value: writableLayer.inodesUsed },
    },
  };
}

export function renderPodStats(stats: PodStats): IPodSandboxStats {
  const { pod, cpu, memory, io, network, processes, containers } = stats;
  const { metadata, labels, annotations } = pod.config;
  return {
    attributes: { id: pod.id, metadata, labels, annotations },
    linux: {
      cpu: cpu && renderCpu(cpu),
      memory: memory && renderMemory(memory),
      io: io && renderIo(io),
      network: network && {
        timestamp: long(network.atNs),
        defaultInterface: renderInterface(network.defaultInterface),
        interfaces: network.interfaces.map(renderInterface),
      },
      process: processes && { timestamp: long(processes.atNs), processCount: { value: processes.count } },
      containers: containers.map(renderContainerStats),
    },
  };
}

function renderCpu({ atNs, usageNs, usageNanoCores, pressure }: CpuStats): ICpuUsage {
  return {
    timestamp: long(atNs),
    usageCoreNanoSeconds: { value: usageNs },
    usageNanoCores: optional(usageNanoCores),
    psi: pressure && renderPressure(pressure),
  };
}

function renderMemory(memory: MemoryStats): IMemoryUsage {
  return {
    timestamp: long(memory.atNs),
    usageBytes: { value: memory.usageBytes },
    workingSetBytes: { value: memory.workingSetBytes },
    availableBytes: optional(memory.availableBytes),
    rssBytes: { value: memory.rssBytes },
    pageFaults: { value: memory.pageFaults },
    majorPageFaults: { value: memory.majorPageFaults },
    psi: memory.pressure && renderPressure(memory.pressure),
  };
}

function renderIo({ atNs, pressure }: IoStats): IIoUsage {
  return { timestamp: long(atNs), psi: renderPressure(pressure) };
}

/** Proto's field names have capitals here. */
function renderPressure({ some, full }: Pressure): IPsiStats {
  return { Some: renderStall(some), Full: renderStall(full) };
}

function renderStall({ totalNs, average10, average60, average300 }: Stall): IPsiData {
  return { Total: totalNs, Avg10: average10, Avg60: average60, Avg300: average300 };
}

function renderInterface(usage: InterfaceUsage): INetworkInterfaceUsage {
  return {
    name: usage.name,
    rxBytes: { value: usage.rxBytes },
    rxErrors: { value: usage.rxErrors },
    txBytes: { value: usage.txBytes },
    txErrors: { value: usage.txErrors },
  };
}

function optional(value: number | undefined): { readonly value: number } | undefined {
  return value === undefined ? undefined : { value };
}

export function renderPodMetrics({ podId, metrics, containers }: PodMetrics): IPodSandboxMetrics {
  return {
    podSandboxId: podId,
    metrics: metrics.map(renderMetric),
    containerMetrics: containers.map(
      (one): IContainerMetrics => ({ containerId: one.containerId, metrics: one.metrics.map(renderMetric) }),
    ),
  };
}

/** Without a time: the numbers were read for this answer. */
function renderMetric({ name, type, labelValues, value }: Metric): IMetric {
  return {
    name,
    metricType: type === 'counter' ? MetricType.COUNTER : MetricType.GAUGE,
    labelValues: [...labelValues],
    value: { value },
  };
}
