/**
 * The limits of a pod as a whole: those of its own cgroup, `cgroup_parent`.
 *
 * RunPodSandbox does not set them. The kubelet makes the pod's cgroup and limits it before it asks for the sandbox, and
 * what it tells there is the sum over the containers that have a limit: as a limit of the pod it would starve those
 * that have none. It is kept for who asks, and what UpdatePodSandboxResources says, which are the pod's true limits, is set.
 */
import { CairnError } from '../base/errors.ts';
import { type CgroupLimits, setCgroupLimits } from '../linux/index.ts';
import { type CgroupDriver, podCgroup } from './cgroup.ts';
import type { PodRecord } from './records.ts';
import { mergeResources, type Resources } from './resources.ts';

const STEP = 'pod.update';

export interface PodResources {
  /** What the containers have together. */
  readonly resources: Resources;
  /** What the pod costs on top of them. */
  readonly overhead: Resources;
}

/** The record with what holds then; 0 and empty stay as they were. On failure what was known before is set again. */
export async function updatePodLimits(
  record: PodRecord,
  update: PodResources,
  { driver, sharedParent }: { readonly driver: CgroupDriver; readonly sharedParent: string },
): Promise<PodRecord> {
  const { config } = record;
  if (record.state !== 'ready') {
    const message = `pod sandbox ${record.id} is ${record.state} and can't be given other resources`;
    throw new CairnError('FailedPrecondition', message, { step: STEP });
  }
  if (config.cgroupParent === sharedParent) {
    const message = `pod sandbox ${record.id} has no cgroup of its own to limit: its request named no cgroup_parent`;
    throw new CairnError('FailedPrecondition', message, { step: STEP });
  }
  const path = podCgroup(driver, config.cgroupParent);
  const resources = mergeResources(config.resources, update.resources);
  const overhead = mergeResources(config.overhead, update.overhead);
  try {
    await setCgroupLimits(path, limitsOf({ resources, overhead }));
  } catch (error) {
    await setCgroupLimits(path, limitsOf(config)).catch(() => undefined);
    throw error;
  }
  return { ...record, config: { ...config, resources, overhead } };
}

/** Both together, as far as the resources say something: an overhead alone limits nothing. */
export function limitsOf({ resources, overhead }: PodResources): CgroupLimits {
  const said = (value: number) => (value === 0 ? undefined : value);
  const sum = (value: number, more: number) => said(value > 0 ? value + Math.max(more, 0) : value);
  const period = resources.cpuPeriod || overhead.cpuPeriod;
  // A quota is a share of its own period.
  const overheadQuota = overhead.cpuPeriod > 0 ? (overhead.cpuQuota * period) / overhead.cpuPeriod : overhead.cpuQuota;
  return {
    cpuShares: sum(resources.cpuShares, overhead.cpuShares),
    cpuQuotaUs: sum(resources.cpuQuota, Math.round(overheadQuota)),
    cpuPeriodUs: said(period),
    memoryBytes: sum(resources.memoryLimitBytes, overhead.memoryLimitBytes),
    memorySwapBytes: sum(resources.memorySwapLimitBytes, overhead.memoryLimitBytes),
    cpusetCpus: resources.cpusetCpus || undefined,
    cpusetMems: resources.cpusetMems || undefined,
    hugepages: resources.hugepageLimits,
    unified: resources.unified,
  };
}
