/**
 * Changes a container's limits: of a created one in its runtime spec, of a running one through its runtime. Either all
 * of an update holds or, after an error, what held before.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, errnoOf, messageOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { Logger } from '../base/log.ts';
import { cgroupPaths, processesOf, setCgroupLimits } from '../linux/index.ts';
import { mergeResources } from '../pods/index.ts';
import { containerCgroup, type TaskService } from '../task/index.ts';
import { readSpec, rewriteSpec } from './bundle.ts';
import type { Resources } from './index.ts';
import type { ContainerRecord } from './records.ts';
import type { HostFacts } from './spec/host-facts.ts';
import type { ResourcesSpec, RuntimeSpec } from './spec/oci.ts';
import { buildResources, effectiveResources } from './spec/resources.ts';

export interface UpdateContext {
  readonly task: TaskService;
  readonly host: HostFacts;
  readonly log: Logger;
}

const STEP = 'container.update';

/** The resources in effect afterwards. The caller has seen that the container is created or running. */
export async function updateContainer(
  record: ContainerRecord,
  update: Resources,
  context: UpdateContext,
): Promise<Resources> {
  const { host } = context;
  const resources = effectiveResources(mergeResources(record.resources, update), host);
  const spec = await readSpec(record);
  // What can't be had on this host is refused here, before anything is touched.
  const limits = buildResources(resources, spec.linux.resources.devices, host);
  checkSwap(resources);
  if (record.state === 'running') {
    try {
      await apply(record, limits, resources, context);
    } catch (error) {
      await restore(record, spec.linux.resources, context);
      throw error;
    }
  }
  await failpoint('container.update.spec');
  await rewriteSpec(record.directory, {
    ...spec,
    process: { ...spec.process, oomScoreAdj: resources.oomScoreAdj },
    linux: { ...spec.linux, resources: limits },
  });
  return resources;
}

/** A memory limit that grew past what memory and swap may have together. */
function checkSwap({ memoryLimitBytes: memory, memorySwapLimitBytes: both }: Resources): void {
  if (both <= 0 || memory <= both) return;
  const message = `a memory limit of ${memory} bytes is above the container's limit for memory and swap together, ${both}`;
  throw new CairnError('InvalidArgument', message, { step: STEP });
}

async function apply(
  record: ContainerRecord,
  limits: ResourcesSpec,
  resources: Resources,
  { task, host }: UpdateContext,
): Promise<void> {
  const cgroup = containerCgroup(record.cgroupsPath);
  if (host.cgroupVersion === 2) await checkUsage(cgroup, limits.memory?.limit ?? -1);
  // The devices stay as they are.
  const { devices: _devices, hugepageLimits, ...rest } = limits;
  await task.update(record.id, rest);
  if (hugepageLimits !== undefined) {
    const hugepages = hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limitBytes: limit }));
    await setCgroupLimits(cgroup, { hugepages });
  }
  if (resources.oomScoreAdj !== record.resources.oomScoreAdj) {
    await setOomScoreAdj(cgroup, record.resources.oomScoreAdj, resources.oomScoreAdj);
  }
}

/**
 * A limit below what is in use is an error, not a reason to kill: version 1 refuses it by itself, version 2 would take what it
 * needs by killing. (runc's own check of that is as young as 1.2.)
 */
async function checkUsage(cgroup: string, limitBytes: number): Promise<void> {
  const { unified } = await cgroupPaths(cgroup);
  if (limitBytes === -1 || unified === undefined) return;
  const usedBytes = Number(await readFile(join(unified, 'memory.current'), 'utf8').catch(() => '0'));
  if (usedBytes < limitBytes) return;
  const message = `a memory limit of ${limitBytes} bytes is below the ${usedBytes} that the container uses`;
  throw new CairnError('FailedPrecondition', message, { step: STEP });
}

/** Sets it for the processes that have what the container had: one that chose its own keeps that. */
async function setOomScoreAdj(cgroup: string, before: number, after: number): Promise<void> {
  for (const pid of await processesOf(cgroup)) {
    const file = `/proc/${pid}/oom_score_adj`;
    try {
      if (Number(await readFile(file, 'utf8')) === before) await writeFile(file, `${after}`, { flag: 'r+' });
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') continue;
      throw new CairnError('FailedPrecondition', `oom_score_adj of process ${pid}: ${messageOf(error)}`, {
        step: STEP,
        cause: error,
      });
    }
  }
}

async function restore(record: ContainerRecord, before: RuntimeSpec['linux']['resources'], context: UpdateContext) {
  try {
    await apply(record, withEveryLimit(before, context.host), record.resources, context);
  } catch (error) {
    const message = `the limits from before a failed update could not be set again: ${messageOf(error)}`;
    context.log.warn({ container: record.id, err: error }, message);
  }
}

/** What was not limited is said to be so, else the failed update's limit would stay. */
function withEveryLimit(limits: ResourcesSpec, { swapAccounting }: HostFacts): ResourcesSpec {
  const { memory, cpu } = limits;
  return {
    ...limits,
    memory: { limit: -1, ...(swapAccounting ? { swap: -1 } : {}), ...memory },
    cpu: { shares: 1024, quota: -1, period: 100_000, ...cpu },
  };
}
