/** All metrics of one running container. */
import { stat, statfs } from 'node:fs/promises';
import type { Container } from '../../containers/index.ts';
import type { Pod } from '../../pods/index.ts';
import { type CgroupDirectories, parseNumber } from '../cgroup-files.ts';
import { readCpuLimits } from '../cpu.ts';
import { readHugePages } from '../hugetlb.ts';
import type { LayerStats, Metric } from '../index.ts';
import { deviceName, readDeviceIo } from '../io.ts';
import type { Memory } from '../memory.ts';
import { readOpenFiles, readOpenFilesLimit, readProcesses, readTasks } from '../processes.ts';
import { addCpuMetrics, addMemoryMetrics, addPressureMetrics } from './cgroup-metrics.ts';
import { MetricList } from './metric-list.ts';

export interface ContainerMetricsInput {
  readonly pod: Pod;
  readonly container: Container;
  readonly image: string;
  /** The container's. */
  readonly cgroup: CgroupDirectories;
  readonly layer: LayerStats | undefined;
  readonly rootDirectory: string;
}

export async function readContainerMetrics(input: ContainerMetricsInput): Promise<readonly Metric[]> {
  const { pod, container, cgroup, image } = input;
  const { namespace, name } = pod.config.metadata;
  const list = new MetricList({ container: container.config.name, id: container.id, image, namespace, pod: name });
  list.add('container_last_seen', Math.floor(Date.now() / 1000));
  list.addSeconds('container_start_time_seconds', Number(container.startedAtNs));
  await addCpuMetrics(list, cgroup);
  const memory = await addMemoryMetrics(list, cgroup);
  await addPressureMetrics(list, cgroup);
  await addSpecMetrics(list, input, memory);
  await addProcessMetrics(list, input);
  await addDiskMetrics(list, input);
  for (const { pageSize, usageBytes, maxUsageBytes } of await readHugePages(cgroup)) {
    list.add('container_hugetlb_usage_bytes', usageBytes, pageSize);
    list.add('container_hugetlb_max_usage_bytes', maxUsageBytes, pageSize);
  }
  return list.metrics;
}

async function addSpecMetrics(
  list: MetricList,
  { container, cgroup }: ContainerMetricsInput,
  memory: Memory | undefined,
): Promise<void> {
  const { resources } = container.config;
  const { quotaUs, periodUs, shares } = await readCpuLimits(cgroup);
  list.add('container_spec_cpu_period', periodUs);
  list.add('container_spec_cpu_quota', quotaUs);
  // What was asked for is exact; a weight of v2 is not.
  list.add('container_spec_cpu_shares', resources.cpuShares > 0 ? resources.cpuShares : shares);
  if (memory === undefined) return;
  const { limitBytes = 0, swapLimitBytes } = memory;
  list.add('container_spec_memory_limit_bytes', limitBytes);
  list.add('container_spec_memory_reservation_limit_bytes', parseNumber(resources.unified['memory.min']) ?? 0);
  const both = swapLimitBytes === undefined || limitBytes === 0 ? 0 : limitBytes + swapLimitBytes;
  list.add('container_spec_memory_swap_limit_bytes', both);
}

async function addProcessMetrics(list: MetricList, { container, cgroup }: ContainerMetricsInput): Promise<void> {
  const [{ threads, threadsMax = 0 }, pids] = await Promise.all([readTasks(cgroup), readProcesses(cgroup)]);
  const files = await readOpenFiles(pids);
  list.add('container_processes', pids.length);
  list.add('container_threads', threads);
  list.add('container_threads_max', threads === undefined ? undefined : threadsMax);
  list.add('container_file_descriptors', files?.descriptors);
  list.add('container_sockets', files?.sockets);
  if (container.pid === undefined) return;
  list.add('container_ulimits_soft', await readOpenFilesLimit(container.pid), 'max_open_files');
}

async function addDiskMetrics(list: MetricList, { cgroup, layer, rootDirectory }: ContainerMetricsInput) {
  const [{ dev }, filesystem] = await Promise.all([stat(rootDirectory), statfs(rootDirectory)]);
  const device = await deviceName(...devicePair(dev));
  list.add('container_fs_usage_bytes', layer?.usedBytes, device);
  list.add('container_fs_limit_bytes', filesystem.blocks * filesystem.bsize, device);
  list.add('container_fs_inodes_total', filesystem.files, device);
  list.add('container_fs_inodes_free', filesystem.ffree, device);
  for (const { major, minor, readBytes, writeBytes, reads, writes } of await readDeviceIo(cgroup)) {
    const name = await deviceName(major, minor);
    list.add('container_fs_reads_total', reads, name);
    list.add('container_fs_reads_bytes_total', readBytes, name);
    list.add('container_fs_writes_total', writes, name);
    list.add('container_fs_writes_bytes_total', writeBytes, name);
    list.add('container_blkio_device_usage_total', readBytes, name, major, minor, 'Read');
    list.add('container_blkio_device_usage_total', writeBytes, name, major, minor, 'Write');
  }
}

/** The kernel's own packing of a device number, as stat(2) has it. */
export function devicePair(device: number): [string, string] {
  const number = BigInt(device);
  const major = ((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xfffff000n);
  const minor = (number & 0xffn) | ((number >> 12n) & 0xffffff00n);
  return [`${major}`, `${minor}`];
}
