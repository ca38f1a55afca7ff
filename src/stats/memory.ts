/** Memory of a cgroup and of those below it, v1 and v2. */
import { type CgroupDirectories, parseKeyed, readLimit, readNumber, readText } from './cgroup-files.ts';

/** `memory.stat`, in words that both versions share. */
export interface MemoryStat {
  readonly rssBytes: number;
  readonly cacheBytes: number;
  readonly mappedFileBytes: number;
  readonly activeFileBytes: number;
  readonly inactiveFileBytes: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  /** v1 has it here, where swap is accounted. */
  readonly swapBytes: number | undefined;
  /** v2 has it here. */
  readonly kernelBytes: number | undefined;
}

export interface Memory extends MemoryStat {
  readonly usageBytes: number;
  /** What is used and could not be dropped at once: usage less the file pages that nobody looked at lately. */
  readonly workingSetBytes: number;
  /** The cgroup's own; undefined: none. */
  readonly limitBytes: number | undefined;
  /** Undefined where the kernel accounts no swap. */
  readonly swapUsageBytes: number | undefined;
  /** Swap alone; undefined: none. */
  readonly swapLimitBytes: number | undefined;
}

/** Costs more files; for metrics. */
export interface MemoryDetails {
  readonly maxUsageBytes: number | undefined;
  readonly kernelBytes: number | undefined;
  /** How often the limit was met. */
  readonly limitHits: number | undefined;
  readonly oomKills: number | undefined;
}

export async function readMemory(cgroup: CgroupDirectories): Promise<Memory | undefined> {
  const { memory, unified } = cgroup;
  return memory === undefined ? await readMemoryV2(unified) : await readMemoryV1(memory);
}

async function readMemoryV1(directory: string): Promise<Memory | undefined> {
  const [usageBytes, text, limitBytes, bothLimit] = await Promise.all([
    readNumber(directory, 'memory.usage_in_bytes'),
    readText(directory, 'memory.stat'),
    readLimit(directory, 'memory.limit_in_bytes'),
    readLimit(directory, 'memory.memsw.limit_in_bytes'),
  ]);
  if (usageBytes === undefined || text === undefined) return undefined;
  const stat = parseMemoryStat(text, 'total_');
  return {
    ...stat,
    usageBytes,
    workingSetBytes: workingSet(usageBytes, stat.inactiveFileBytes),
    limitBytes,
    swapUsageBytes: stat.swapBytes,
    swapLimitBytes: limitBytes === undefined || bothLimit === undefined ? undefined : bothLimit - limitBytes,
  };
}

async function readMemoryV2(directory: string | undefined): Promise<Memory | undefined> {
  const [usageBytes, text, limitBytes, swapUsageBytes, swapLimitBytes] = await Promise.all([
    readNumber(directory, 'memory.current'),
    readText(directory, 'memory.stat'),
    readLimit(directory, 'memory.max'),
    readNumber(directory, 'memory.swap.current'),
    readLimit(directory, 'memory.swap.max'),
  ]);
  if (usageBytes === undefined || text === undefined) return undefined;
  const stat = parseMemoryStat(text, '');
  const workingSetBytes = workingSet(usageBytes, stat.inactiveFileBytes);
  return { ...stat, usageBytes, workingSetBytes, limitBytes, swapUsageBytes, swapLimitBytes };
}

/** The two are not read at one moment, so the difference could be below nothing. */
export function workingSet(usageBytes: number, inactiveFileBytes: number): number {
  return Math.max(0, usageBytes - inactiveFileBytes);
}

/** v1 names what includes the cgroups below with the prefix `total_`; v2 always includes them. */
export function parseMemoryStat(text: string, prefix: '' | 'total_'): MemoryStat {
  const values = parseKeyed(text);
  const v1 = prefix !== '';
  const value = (v1Name: string, v2Name = v1Name) => values.get(v1 ? `${prefix}${v1Name}` : v2Name) ?? 0;
  return {
    rssBytes: value('rss', 'anon'),
    cacheBytes: value('cache', 'file'),
    mappedFileBytes: value('mapped_file', 'file_mapped'),
    activeFileBytes: value('active_file'),
    inactiveFileBytes: value('inactive_file'),
    pageFaults: value('pgfault'),
    majorPageFaults: value('pgmajfault'),
    swapBytes: v1 ? values.get('total_swap') : undefined,
    kernelBytes: v1 ? undefined : values.get('kernel'),
  };
}

export async function readMemoryDetails(cgroup: CgroupDirectories): Promise<MemoryDetails> {
  const { memory, unified } = cgroup;
  if (memory !== undefined) {
    const [maxUsageBytes, kernelBytes, limitHits, oom] = await Promise.all([
      readNumber(memory, 'memory.max_usage_in_bytes'),
      readNumber(memory, 'memory.kmem.usage_in_bytes'),
      readNumber(memory, 'memory.failcnt'),
      readText(memory, 'memory.oom_control'),
    ]);
    return { maxUsageBytes, kernelBytes, limitHits, oomKills: keyed(oom, 'oom_kill') };
  }
  const [maxUsageBytes, events] = await Promise.all([
    readNumber(unified, 'memory.peak'),
    readText(unified, 'memory.events'),
  ]);
  return {
    maxUsageBytes,
    kernelBytes: undefined,
    limitHits: keyed(events, 'max'),
    oomKills: keyed(events, 'oom_kill'),
  };
}

function keyed(text: string | undefined, key: string): number | undefined {
  return text === undefined ? undefined : parseKeyed(text).get(key);
}
