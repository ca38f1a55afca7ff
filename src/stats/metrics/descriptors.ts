/**
 * The metrics of containers and pods, with cAdvisor's names and the labels that Kubernetes' dashboards and alerts go by.
 * CRI carries whole numbers only, so seconds are whole seconds.
 */
import type { MetricDescriptor } from '../index.ts';

/** `id` is the container's (or the pod's) ID, as crictl shows it; `container` and `image` of a pod are empty. */
export const BASE_LABELS = ['container', 'id', 'image', 'namespace', 'pod'] as const;

interface Definition {
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  /** After the base labels. */
  readonly labels: readonly string[];
}

function counter(help: string, ...labels: string[]): Definition {
  return { type: 'counter', help, labels };
}

function gauge(help: string, ...labels: string[]): Definition {
  return { type: 'gauge', help, labels };
}

export const METRICS = {
  container_last_seen: gauge('When these numbers were read, in seconds since the epoch.'),
  container_start_time_seconds: gauge('When it was started, in seconds since the epoch.'),

  container_cpu_usage_seconds_total: counter('CPU time.', 'cpu'),
  container_cpu_user_seconds_total: counter('CPU time in user mode.'),
  container_cpu_system_seconds_total: counter('CPU time in the kernel.'),
  container_cpu_cfs_periods_total: counter('Periods in which the CPU quota was enforced.'),
  container_cpu_cfs_throttled_periods_total: counter('Periods in which the CPU quota was used up.'),
  container_cpu_cfs_throttled_seconds_total: counter('Time spent waiting for the next period.'),

  container_memory_usage_bytes: gauge('Memory in use, page cache included.'),
  container_memory_working_set_bytes: gauge('Memory in use less inactive file pages: what an eviction looks at.'),
  container_memory_max_usage_bytes: gauge('The most memory that was in use.'),
  container_memory_rss: gauge('Anonymous memory.'),
  container_memory_cache: gauge('Page cache.'),
  container_memory_mapped_file: gauge('File pages that are mapped.'),
  container_memory_total_active_file_bytes: gauge('File pages used lately.'),
  container_memory_total_inactive_file_bytes: gauge('File pages not used lately.'),
  container_memory_kernel_usage: gauge('Memory of the kernel.'),
  container_memory_swap: gauge('Swap in use.'),
  container_memory_failcnt: counter('How often the memory limit was met.'),
  container_memory_failures_total: counter('Page faults, by kind.', 'failure_type', 'scope'),
  container_oom_events_total: counter('Processes killed for want of memory.'),

  container_hugetlb_usage_bytes: gauge('Huge pages in use.', 'pagesize'),
  container_hugetlb_max_usage_bytes: gauge('The most huge pages that were in use (cgroup v1).', 'pagesize'),

  container_fs_usage_bytes: gauge('Size of the container’s own layer.', 'device'),
  container_fs_limit_bytes: gauge('Size of the file system that the layer is on.', 'device'),
  container_fs_inodes_total: gauge('Inodes of the file system that the layer is on.', 'device'),
  container_fs_inodes_free: gauge('Inodes left on the file system that the layer is on.', 'device'),
  container_fs_reads_total: counter('Reads of a block device.', 'device'),
  container_fs_reads_bytes_total: counter('Bytes read from a block device.', 'device'),
  container_fs_writes_total: counter('Writes to a block device.', 'device'),
  container_fs_writes_bytes_total: counter('Bytes written to a block device.', 'device'),
  container_blkio_device_usage_total: counter(
    'Bytes moved to or from a block device.',
    ...['device', 'major', 'minor', 'operation'],
  ),

  container_network_receive_bytes_total: counter('Bytes received.', 'interface'),
  container_network_receive_packets_total: counter('Packets received.', 'interface'),
  container_network_receive_packets_dropped_total: counter('Packets dropped at reception.', 'interface'),
  container_network_receive_errors_total: counter('Errors at reception.', 'interface'),
  container_network_transmit_bytes_total: counter('Bytes sent.', 'interface'),
  container_network_transmit_packets_total: counter('Packets sent.', 'interface'),
  container_network_transmit_packets_dropped_total: counter('Packets dropped at sending.', 'interface'),
  container_network_transmit_errors_total: counter('Errors at sending.', 'interface'),

  container_processes: gauge('Processes.'),
  container_threads: gauge('Threads of all processes.'),
  container_threads_max: gauge('The limit of threads; 0 is none.'),
  container_file_descriptors: gauge('Open file descriptors of all processes.'),
  container_sockets: gauge('Open sockets of all processes.'),
  container_ulimits_soft: gauge('Soft limits of the first process.', 'ulimit'),

  container_spec_cpu_period: gauge('CPU period in microseconds.'),
  container_spec_cpu_quota: gauge('CPU quota in microseconds a period; absent without one.'),
  container_spec_cpu_shares: gauge('CPU shares.'),
  container_spec_memory_limit_bytes: gauge('Memory limit; 0 is none.'),
  container_spec_memory_reservation_limit_bytes: gauge('Memory that is kept for it (`memory.min`); 0 is none.'),
  container_spec_memory_swap_limit_bytes: gauge('Limit of memory and swap together; 0 is none.'),

  container_pressure_cpu_waiting_seconds_total: counter('Time in which some task waited for a CPU.'),
  container_pressure_cpu_stalled_seconds_total: counter('Time in which all tasks waited for a CPU.'),
  container_pressure_memory_waiting_seconds_total: counter('Time in which some task waited for memory.'),
  container_pressure_memory_stalled_seconds_total: counter('Time in which all tasks waited for memory.'),
  container_pressure_io_waiting_seconds_total: counter('Time in which some task waited for I/O.'),
  container_pressure_io_stalled_seconds_total: counter('Time in which all tasks waited for I/O.'),
} satisfies Readonly<Record<string, Definition>>;

export type MetricName = keyof typeof METRICS;

export const DESCRIPTORS: readonly MetricDescriptor[] = Object.entries<Definition>(METRICS).map(
  ([name, { help, labels }]) => ({ name, help, labelKeys: [...BASE_LABELS, ...labels] }),
);
