import { describe, expect, test } from '@jest/globals';
import { BASE_LABELS, DESCRIPTORS, METRICS, type MetricName } from '../../../src/stats/metrics/descriptors.ts';
import { MetricList } from '../../../src/stats/metrics/metric-list.ts';

/** What CRI-O 1.37 has. */
const CRI_O = [
  ...['last_seen', 'cpu_user_seconds_total', 'cpu_system_seconds_total', 'cpu_usage_seconds_total'],
  ...['cpu_cfs_periods_total', 'cpu_cfs_throttled_periods_total', 'cpu_cfs_throttled_seconds_total'],
  ...[
    'fs_inodes_free',
    'fs_inodes_total',
    'fs_limit_bytes',
    'fs_usage_bytes',
    'fs_reads_bytes_total',
    'fs_reads_total',
  ],
  ...['fs_writes_bytes_total', 'fs_writes_total', 'blkio_device_usage_total', 'hugetlb_usage_bytes'],
  ...['hugetlb_max_usage_bytes', 'memory_cache', 'memory_rss', 'memory_kernel_usage', 'memory_mapped_file'],
  ...['memory_swap', 'memory_failcnt', 'memory_usage_bytes', 'memory_max_usage_bytes', 'memory_working_set_bytes'],
  ...[
    'memory_failures_total',
    'oom_events_total',
    'file_descriptors',
    'processes',
    'sockets',
    'threads',
    'threads_max',
  ],
  ...['ulimits_soft', 'spec_memory_limit_bytes', 'spec_cpu_period', 'spec_cpu_shares', 'spec_cpu_quota'],
  ...['spec_memory_reservation_limit_bytes', 'spec_memory_swap_limit_bytes', 'start_time_seconds'],
  ...['receive', 'transmit'].flatMap((way) =>
    ['bytes', 'packets', 'packets_dropped', 'errors'].map((what) => `network_${way}_${what}_total`),
  ),
  ...['cpu', 'memory', 'io'].flatMap((resource) =>
    ['stalled', 'waiting'].map((kind) => `pressure_${resource}_${kind}_seconds_total`),
  ),
].map((name) => `container_${name}`);

/** Prometheus has names of what only grows end in `_total`, and no others; cAdvisor made exceptions. */
const ODD_NAMES: ReadonlySet<string> = new Set(['container_memory_failcnt', 'container_fs_inodes_total']);

const labels = { container: 'app', id: 'abc', image: 'i:1', namespace: 'ns', pod: 'web' };

describe('metric descriptors', () => {
  test('include the 56 names of CRI-O', () => {
    expect(new Set(CRI_O).size).toBe(56);
    const names = DESCRIPTORS.map(({ name }) => name);
    expect(CRI_O.filter((name) => !names.includes(name))).toEqual([]);
    expect(new Set(names).size).toBe(names.length);
  });

  test('begin with the same labels, none twice, and say what they are', () => {
    for (const { name, help, labelKeys } of DESCRIPTORS) {
      expect(labelKeys.slice(0, BASE_LABELS.length)).toEqual([...BASE_LABELS]);
      expect(new Set(labelKeys).size).toBe(labelKeys.length);
      expect(help).toMatch(/^[A-Z].*\.$/);
      const grows = METRICS[name as MetricName].type === 'counter';
      if (!ODD_NAMES.has(name)) expect(name.endsWith('_total')).toBe(grows);
    }
  });
});

describe('a list of metrics', () => {
  test('puts values in the order of the keys, whole seconds, and leaves out what was not measured', () => {
    const list = new MetricList(labels);
    list.addSeconds('container_cpu_usage_seconds_total', 2_900_000_000, 'total');
    list.add('container_memory_rss', undefined);
    list.add('container_processes', 0);
    expect(list.metrics).toEqual([
      {
        name: 'container_cpu_usage_seconds_total',
        type: 'counter',
        labelValues: ['app', 'abc', 'i:1', 'ns', 'web', 'total'],
        value: 2,
      },
      {
        name: 'container_processes',
        type: 'gauge',
        labelValues: ['app', 'abc', 'i:1', 'ns', 'web'],
        value: 0,
      },
    ]);
  });
});
