/**
 * Setting limits in a cgroup that exists, by its files: what a runtime does for its containers, for cgroups that are no
 * container (a pod's), and for what runtimes leave out of an update (huge pages).
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, errnoOf, messageOf } from '../base/errors.ts';
import { cgroupLayout, cgroupPaths } from './cgroup-layout.ts';

/** What is undefined stays as it is; -1 is "no limit". */
export interface CgroupLimits {
  readonly cpuShares?: number | undefined;
  readonly cpuQuotaUs?: number | undefined;
  readonly cpuPeriodUs?: number | undefined;
  readonly memoryBytes?: number | undefined;
  /** Memory and swap together. */
  readonly memorySwapBytes?: number | undefined;
  readonly cpusetCpus?: string | undefined;
  readonly cpusetMems?: string | undefined;
  readonly hugepages?: readonly { readonly pageSize: string; readonly limitBytes: number }[];
  /** v2 only: files and what to write into them. */
  readonly unified?: Readonly<Record<string, string>>;
}

export interface CgroupWrite {
  readonly controller: string;
  readonly file: string;
  readonly value: string;
}

const CPU_PERIOD_US = 100_000;
const CONTROLLER_OF = /^(?:cpuset|cpu|memory|io|pids|hugetlb|rdma|misc)(?=\.)/;

/**
 * Writes them in an order that the kernel takes. FailedPrecondition, with the kernel's own words, for one that it refuses;
 * those before it are set.
 */
export async function setCgroupLimits(path: string, limits: CgroupLimits): Promise<void> {
  const [{ hierarchies }, directories] = await Promise.all([cgroupLayout(), cgroupPaths(path)]);
  const isV2 = hierarchies.size === 1 && hierarchies.has('unified');
  const directoryOf = (controller: string) => directories[isV2 ? 'unified' : controller];
  const memory = directoryOf('memory');
  const present = memory === undefined || isV2 ? undefined : await memoryNow(memory);
  for (const { controller, file, value } of isV2 ? limitWritesV2(limits) : limitWritesV1(limits, present)) {
    const directory = directoryOf(controller);
    try {
      if (directory === undefined) throw new Error(`this host has no ${controller} controller`);
      await writeFile(join(directory, file), value, { flag: 'r+' });
    } catch (error) {
      const why = errnoOf(error) === 'ENOENT' ? 'there is no such file or cgroup' : messageOf(error);
      throw new CairnError('FailedPrecondition', `cgroup ${path}: ${file} can't be set to ${value}: ${why}`, {
        step: 'linux.cgroup',
        cause: error,
      });
    }
  }
}

/** `memoryNow`: the limits in force; memory alone may never be above memory and swap together. */
export function limitWritesV1(
  limits: CgroupLimits,
  memoryNow?: { readonly memoryBytes: number; readonly memorySwapBytes: number | undefined },
): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const add = (controller: string, file: string, value: number | string | undefined) => {
    if (value !== undefined && value !== '')
      writes.push({ controller, file: `${controller}.${file}`, value: `${value}` });
  };
  add('cpu', 'shares', limits.cpuShares);
  // The period first: a quota is checked against it.
  add('cpu', 'cfs_period_us', limits.cpuPeriodUs);
  add('cpu', 'cfs_quota_us', limits.cpuQuotaUs);
  add('cpuset', 'cpus', limits.cpusetCpus);
  add('cpuset', 'mems', limits.cpusetMems);
  const both = memoryNow?.memorySwapBytes === undefined ? undefined : limits.memorySwapBytes;
  const grows = limits.memoryBytes !== undefined && rank(limits.memoryBytes) > rank(memoryNow?.memorySwapBytes ?? -1);
  if (grows) add('memory', 'memsw.limit_in_bytes', both);
  add('memory', 'limit_in_bytes', limits.memoryBytes);
  if (!grows) add('memory', 'memsw.limit_in_bytes', both);
  for (const { pageSize, limitBytes } of limits.hugepages ?? []) {
    add('hugetlb', `${pageSize}.limit_in_bytes`, limitBytes);
  }
  return writes;
}

export function limitWritesV2(limits: CgroupLimits): CgroupWrite[] {
  const writes: CgroupWrite[] = [];
  const add = (controller: string, file: string, value: number | string | undefined) => {
    if (value === undefined || value === '') return;
    writes.push({ controller, file: `${controller}.${file}`, value: value === -1 ? 'max' : `${value}` });
  };
  if (limits.cpuShares !== undefined) add('cpu', 'weight', cpuWeight(limits.cpuShares));
  if (limits.cpuQuotaUs !== undefined) {
    const quota = limits.cpuQuotaUs === -1 ? 'max' : limits.cpuQuotaUs;
    add('cpu', 'max', `${quota} ${limits.cpuPeriodUs ?? CPU_PERIOD_US}`);
  }
  add('cpuset', 'cpus', limits.cpusetCpus);
  add('cpuset', 'mems', limits.cpusetMems);
  add('memory', 'max', limits.memoryBytes);
  add('memory', 'swap.max', swapAlone(limits));
  for (const { pageSize, limitBytes } of limits.hugepages ?? []) add('hugetlb', `${pageSize}.max`, limitBytes);
  for (const [file, value] of Object.entries(limits.unified ?? {})) {
    const controller = CONTROLLER_OF.exec(file)?.[0];
    if (controller === undefined || file.includes('/')) {
      throw new CairnError('InvalidArgument', `unified resource ${JSON.stringify(file)}: no file of a controller`);
    }
    writes.push({ controller, file, value });
  }
  return writes;
}

/** v2 counts swap by itself. */
function swapAlone({ memoryBytes, memorySwapBytes }: CgroupLimits): number | undefined {
  if (memorySwapBytes === undefined || memorySwapBytes === -1) return memorySwapBytes;
  return memoryBytes === undefined || memoryBytes === -1 ? undefined : memorySwapBytes - memoryBytes;
}

/**
 * The weight (1 to 10000, 100 by default) for shares (2 to 262144, 1024 by default): the curve through the three that
 * runtimes and the kubelet use since 2025, so that all who write a pod's weight write the same.
 */
export function cpuWeight(shares: number): number {
  if (shares <= 2) return 1;
  if (shares >= 262_144) return 10_000;
  const log = Math.log2(shares);
  return Math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34));
}

async function memoryNow(directory: string) {
  const read = async (file: string) => {
    const text = await readFile(join(directory, file), 'utf8').catch(() => '');
    return text === '' ? undefined : Number(text);
  };
  const [memoryBytes = -1, memorySwapBytes] = await Promise.all([
    read('memory.limit_in_bytes'),
    read('memory.memsw.limit_in_bytes'),
  ]);
  return { memoryBytes, memorySwapBytes };
}

function rank(limit: number): number {
  return limit === -1 ? Number.POSITIVE_INFINITY : limit;
}
