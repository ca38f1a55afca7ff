/** The metrics that containers and pods have in common: those of a cgroup. */
import type { CgroupDirectories } from '../cgroup-files.ts';
import { readCpuTime, readThrottling } from '../cpu.ts';
import { type Memory, readMemory, readMemoryDetails } from '../memory.ts';
import { readPressures } from '../pressure.ts';
import type { MetricList } from './metric-list.ts';

export async function addCpuMetrics(list: MetricList, cgroup: CgroupDirectories): Promise<void> {
  const [time, throttling] = await Promise.all([readCpuTime(cgroup), readThrottling(cgroup)]);
  // One number for all CPUs, as the kubelet's cAdvisor does it.
  list.addSeconds('container_cpu_usage_seconds_total', time?.usageNs, 'total');
  list.addSeconds('container_cpu_user_seconds_total', time?.userNs);
  list.addSeconds('container_cpu_system_seconds_total', time?.systemNs);
  list.add('container_cpu_cfs_periods_total', throttling?.periods);
  list.add('container_cpu_cfs_throttled_periods_total', throttling?.throttledPeriods);
  list.addSeconds('container_cpu_cfs_throttled_seconds_total', throttling?.throttledNs);
}

export async function addMemoryMetrics(list: MetricList, cgroup: CgroupDirectories): Promise<Memory | undefined> {
  const [memory, details] = await Promise.all([readMemory(cgroup), readMemoryDetails(cgroup)]);
  list.add('container_memory_usage_bytes', memory?.usageBytes);
  list.add('container_memory_working_set_bytes', memory?.workingSetBytes);
  list.add('container_memory_max_usage_bytes', details.maxUsageBytes);
  list.add('container_memory_rss', memory?.rssBytes);
  list.add('container_memory_cache', memory?.cacheBytes);
  list.add('container_memory_mapped_file', memory?.mappedFileBytes);
  list.add('container_memory_total_active_file_bytes', memory?.activeFileBytes);
  list.add('container_memory_total_inactive_file_bytes', memory?.inactiveFileBytes);
  list.add('container_memory_kernel_usage', details.kernelBytes ?? memory?.kernelBytes);
  list.add('container_memory_swap', memory?.swapUsageBytes);
  list.add('container_memory_failcnt', details.limitHits);
  for (const scope of ['container', 'hierarchy']) {
    list.add('container_memory_failures_total', memory?.pageFaults, 'pgfault', scope);
    list.add('container_memory_failures_total', memory?.majorPageFaults, 'pgmajfault', scope);
  }
  list.add('container_oom_events_total', details.oomKills);
  return memory;
}

export async function addPressureMetrics(list: MetricList, cgroup: CgroupDirectories): Promise<void> {
  const pressures = await readPressures(cgroup);
  for (const resource of ['cpu', 'memory', 'io'] as const) {
    const pressure = pressures[resource];
    list.addSeconds(`container_pressure_${resource}_waiting_seconds_total`, pressure?.some.totalNs);
    list.addSeconds(`container_pressure_${resource}_stalled_seconds_total`, pressure?.full.totalNs);
  }
}
