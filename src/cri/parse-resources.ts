/** LinuxContainerResources. Zero and empty stay "not said". */

import type { LinuxContainerResources } from '../generated/cri.js';
import { NO_RESOURCES, type Resources } from '../pods/index.ts';
import { byteLimit, integer, invalid, required } from './fields.ts';

const UNLIMITED = -1;

export function parseResources(field: string, resources: LinuxContainerResources | null): Resources {
  if (!resources) return NO_RESOURCES;
  const count = { min: 0, max: Number.MAX_SAFE_INTEGER };
  const parsed: Resources = {
    cpuPeriod: integer(`${field}.cpu_period`, resources.cpuPeriod, count),
    cpuQuota: integer(`${field}.cpu_quota`, resources.cpuQuota, { ...count, min: UNLIMITED }),
    cpuShares: integer(`${field}.cpu_shares`, resources.cpuShares, count),
    memoryLimitBytes: byteLimit(`${field}.memory_limit_in_bytes`, resources.memoryLimitInBytes, UNLIMITED),
    memorySwapLimitBytes: byteLimit(`${field}.memory_swap_limit_in_bytes`, resources.memorySwapLimitInBytes, UNLIMITED),
    oomScoreAdj: integer(`${field}.oom_score_adj`, resources.oomScoreAdj, { min: -1000, max: 1000 }),
    cpusetCpus: cpuList(`${field}.cpuset_cpus`, resources.cpusetCpus),
    cpusetMems: cpuList(`${field}.cpuset_mems`, resources.cpusetMems),
    hugepageLimits: resources.hugepageLimits.map(({ pageSize, limit }, index) => ({
      pageSize: required(`${field}.hugepage_limits[${index}].page_size`, pageSize),
      limitBytes: byteLimit(`${field}.hugepage_limits[${index}].limit`, limit, 0),
    })),
    unified: resources.unified,
  };
  const { memoryLimitBytes, memorySwapLimitBytes } = parsed;
  if (memorySwapLimitBytes > 0 && memorySwapLimitBytes < memoryLimitBytes) {
    throw invalid(`${field}.memory_swap_limit_in_bytes`, 'counts memory too, so it can be no less than its limit');
  }
  return parsed;
}

/** `0-3,7`, as cpuset(7) lists it. */
function cpuList(field: string, text: string): string {
  if (/^(\d+(-\d+)?(,\d+(-\d+)?)*)?$/.test(text)) return text;
  throw invalid(field, `${JSON.stringify(text)} is no list like 0-3,7`);
}
