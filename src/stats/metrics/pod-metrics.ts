/** The metrics of a pod as a whole: its network, and its cgroup where that is its own. */
import type { CgroupDirectories } from '../cgroup-files.ts';
import type { NetworkStats } from '../index.ts';
import { addCpuMetrics, addMemoryMetrics, addPressureMetrics } from './cgroup-metrics.ts';
import type { MetricList } from './metric-list.ts';

export async function addPodMetrics(
  list: MetricList,
  cgroup: CgroupDirectories | undefined,
  network: NetworkStats | undefined,
): Promise<void> {
  if (cgroup) {
    await addCpuMetrics(list, cgroup);
    await addMemoryMetrics(list, cgroup);
    await addPressureMetrics(list, cgroup);
  }
  if (!network) return;
  const { defaultInterface, interfaces } = network;
  // cAdvisor leaves the loopback out, and dashboards add all interfaces up.
  for (const one of [defaultInterface, ...interfaces.filter(({ name }) => name !== 'lo')]) {
    list.add('container_network_receive_bytes_total', one.rxBytes, one.name);
    list.add('container_network_receive_packets_total', one.rxPackets, one.name);
    list.add('container_network_receive_packets_dropped_total', one.rxDropped, one.name);
    list.add('container_network_receive_errors_total', one.rxErrors, one.name);
    list.add('container_network_transmit_bytes_total', one.txBytes, one.name);
    list.add('container_network_transmit_packets_total', one.txPackets, one.name);
    list.add('container_network_transmit_packets_dropped_total', one.txDropped, one.name);
    list.add('container_network_transmit_errors_total', one.txErrors, one.name);
  }
}
