/** Kernel parameters of a pod. Which of them belong to a namespace that the pod has of its own is checked where they are set. */
import { parseSysctl } from '../linux/index.ts';
import type { PodConfig } from './index.ts';

/** Any user of a pod may listen on port 80 and ping: the network is the pod's own, so there is nobody to protect. */
const NETWORK_DEFAULTS = {
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': '0 2147483647',
} as const;

/** By name in the dotted form. InvalidArgument for what is no name. */
export function podSysctls(config: PodConfig): Readonly<Record<string, string>> {
  const asked = Object.entries(config.sysctls).map(([name, value]) => [parseSysctl(name).name, value] as const);
  return { ...(config.namespaces.network === 'node' ? {} : NETWORK_DEFAULTS), ...Object.fromEntries(asked) };
}
