/** CPU, memory, huge pages and device rules, as the host's cgroup version takes them. */
import { CairnError } from '../../base/errors.ts';
import type { Resources } from '../index.ts';
import type { HostFacts } from './host-facts.ts';
import type { DeviceRule, ResourcesSpec } from './oci.ts';

/** What the host lets a container have of it: less OOM protection than the daemon's own can't be undercut without the privilege. */
export function effectiveResources(resources: Resources, host: HostFacts): Resources {
  return { ...resources, oomScoreAdj: Math.max(resources.oomScoreAdj, host.oomScoreAdjMin) };
}

/** 0 and the empty string mean "not set" in CRI, and are left out of the spec. */
export function buildResources(
  resources: Resources,
  deviceRules: readonly DeviceRule[],
  host: HostFacts,
): ResourcesSpec {
  const memory = memoryOf(resources, host);
  const cpu = {
    ...(resources.cpuShares > 0 ? { shares: resources.cpuShares } : {}),
    ...(resources.cpuQuota !== 0 ? { quota: resources.cpuQuota } : {}),
    ...(resources.cpuPeriod > 0 ? { period: resources.cpuPeriod } : {}),
    ...(resources.cpusetCpus !== '' ? { cpus: resources.cpusetCpus } : {}),
    ...(resources.cpusetMems !== '' ? { mems: resources.cpusetMems } : {}),
  };
  const hugepageLimits = hugepagesOf(resources, host);
  const unified = unifiedOf(resources, host);
  return {
    devices: deviceRules,
    ...(isEmpty(memory) ? {} : { memory }),
    ...(isEmpty(cpu) ? {} : { cpu }),
    ...(hugepageLimits.length > 0 ? { hugepageLimits } : {}),
    ...(isEmpty(unified) ? {} : { unified }),
  };
}

function memoryOf(resources: Resources, host: HostFacts): { limit?: number; swap?: number } {
  const limit = resources.memoryLimitBytes;
  // A limit without word on swap means that the container does not swap: memory and swap together get the same limit.
  const swap = resources.memorySwapLimitBytes !== 0 ? resources.memorySwapLimitBytes : limit;
  if (resources.memorySwapLimitBytes > limit && !host.swapAccounting) {
    const message = `a limit for swap was asked for, but this host does not account for swap (kernel parameter swapaccount)`;
    throw new CairnError('FailedPrecondition', message, { step: 'container.spec' });
  }
  return {
    ...(limit !== 0 ? { limit } : {}),
    ...(swap !== 0 && host.swapAccounting ? { swap } : {}),
  };
}

function hugepagesOf(resources: Resources, host: HostFacts): { pageSize: string; limit: number }[] {
  const limits = resources.hugepageLimits.map(({ pageSize, limitBytes }) => ({ pageSize, limit: limitBytes }));
  if (host.cgroupControllers.has('hugetlb')) return limits;
  // The kubelet names every page size of the host with limit 0; without the controller none can be had anyway.
  const wanted = limits.find(({ limit }) => limit > 0);
  if (wanted === undefined) return [];
  throw new CairnError(
    'FailedPrecondition',
    `a limit for ${wanted.pageSize} huge pages was asked for, but this host has no hugetlb cgroup controller`,
    { step: 'container.spec' },
  );
}

function unifiedOf(resources: Resources, host: HostFacts): Readonly<Record<string, string>> {
  const [key] = Object.keys(resources.unified);
  if (key === undefined || host.cgroupVersion === 2) return resources.unified;
  throw new CairnError('FailedPrecondition', `unified resource ${key}: this host has cgroup v1, which knows none`, {
    step: 'container.spec',
  });
}

function isEmpty(value: object): boolean {
  return Object.keys(value).length === 0;
}
