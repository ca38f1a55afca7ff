/** One reading of a cgroup, for the stats of a container or a pod. */
import type { CgroupDirectories } from './cgroup-files.ts';
import { readCpuUsageNs } from './cpu.ts';
import type { CpuWindows } from './cpu-window.ts';
import type { CpuStats, IoStats, MemoryStats, SwapStats } from './index.ts';
import { type Memory, readMemory } from './memory.ts';
import { type Pressures, readPressures } from './pressure.ts';

export interface CgroupUsage {
  readonly cpu: CpuStats | undefined;
  readonly memory: MemoryStats | undefined;
  readonly swap: SwapStats | undefined;
  readonly io: IoStats | undefined;
}

export const NO_USAGE: CgroupUsage = { cpu: undefined, memory: undefined, swap: undefined, io: undefined };
const NO_PRESSURE: Pressures = { cpu: undefined, memory: undefined, io: undefined };

export interface WindowKey {
  readonly windows: CpuWindows;
  readonly id: string;
  /** When it began, by the wall clock. */
  readonly sinceNs: bigint;
}

export async function readCgroupUsage(cgroup: CgroupDirectories, key: WindowKey): Promise<CgroupUsage> {
  const [cpuNs, memory, pressures] = await Promise.all([
    readCpuUsageNs(cgroup),
    readMemory(cgroup),
    readPressures(cgroup),
  ]);
  return describeUsage(cpuNs, memory, pressures, key);
}

export function describeUsage(
  cpuNs: number | undefined,
  memory: Memory | undefined,
  pressures: Pressures,
  key: WindowKey,
): CgroupUsage {
  const atNs = nowNs();
  return {
    cpu: cpuNs === undefined ? undefined : cpuStats(cpuNs, pressures, key, atNs),
    memory: memory && {
      atNs,
      usageBytes: memory.usageBytes,
      workingSetBytes: memory.workingSetBytes,
      availableBytes: left(memory.limitBytes, memory.workingSetBytes),
      rssBytes: memory.rssBytes,
      pageFaults: memory.pageFaults,
      majorPageFaults: memory.majorPageFaults,
      pressure: pressures.memory,
    },
    swap:
      memory?.swapUsageBytes === undefined
        ? undefined
        : {
            atNs,
            usageBytes: memory.swapUsageBytes,
            availableBytes: left(memory.swapLimitBytes, memory.swapUsageBytes),
          },
    io: pressures.io && { atNs, pressure: pressures.io },
  };
}

/** Of a pod that shares its cgroup with others. */
export function sumUsage(parts: readonly CgroupUsage[], key: WindowKey): CgroupUsage {
  const cpus = parts.flatMap(({ cpu }) => cpu ?? []);
  const memories = parts.flatMap(({ memory }) => memory ?? []);
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const total = (name: 'usageBytes' | 'workingSetBytes' | 'rssBytes' | 'pageFaults' | 'majorPageFaults') =>
    sum(memories.map((memory) => memory[name]));
  const atNs = nowNs();
  return {
    ...NO_USAGE,
    cpu: cpus.length === 0 ? undefined : cpuStats(sum(cpus.map(({ usageNs }) => usageNs)), NO_PRESSURE, key, atNs),
    memory:
      memories.length === 0
        ? undefined
        : {
            atNs,
            usageBytes: total('usageBytes'),
            workingSetBytes: total('workingSetBytes'),
            availableBytes: undefined,
            rssBytes: total('rssBytes'),
            pageFaults: total('pageFaults'),
            majorPageFaults: total('majorPageFaults'),
            pressure: undefined,
          },
  };
}

function cpuStats(usageNs: number, pressures: Pressures, { windows, id, sinceNs }: WindowKey, atNs: bigint): CpuStats {
  const ageMs = Number(atNs - sinceNs) / 1e6;
  const usageNanoCores = windows.note(id, usageNs, performance.now(), ageMs);
  return { atNs, usageNs, usageNanoCores, pressure: pressures.cpu };
}

function left(limit: number | undefined, used: number): number | undefined {
  return limit === undefined ? undefined : Math.max(0, limit - used);
}

export function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
