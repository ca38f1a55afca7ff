/**
 * Brings the rows and the world together at start.
 *
 * - What was being created when the daemon died is undone.
 * - A running container is found again and watched, or has its true end written; of one that belongs to an earlier boot, or that
 *   left no trace, the end is unknown.
 * - A start that was interrupted has succeeded if the command ran, and can be repeated if it did not.
 * - Directories that no row owns are removed.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, messageOf } from '../base/errors.ts';
import { Semaphore } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import type { RunningTask, TaskExit } from '../task/index.ts';
import { isRootfsMounted, removeBundle, rootfsPath } from './bundle.ts';
import { type DismantleContext, removeFiles } from './dismantle.ts';
import { exitedRecord, nowNs, unknownExitRecord } from './exit.ts';
import type { Lifetimes } from './lifetimes.ts';
import type { ContainerRecord, ContainerRecords } from './records.ts';
import type { ContainerTransitions } from './transition.ts';
import { unmountOrphanVolumes } from './volumes.ts';

export interface ReconcileContext {
  readonly records: ContainerRecords;
  readonly transitions: ContainerTransitions;
  readonly lifetimes: Lifetimes;
  readonly dismantle: DismantleContext;
  readonly log: Logger;
  readonly containersDirectory: string;
  readonly bootId: string;
}

/** Each one may read files and ask the runtime. */
const AT_ONCE_MAX = 16;

export async function reconcileContainers(context: ReconcileContext): Promise<void> {
  const places = new Semaphore(AT_ONCE_MAX);
  const reconcile = async (record: ContainerRecord) => {
    using _place = await places.acquire();
    try {
      await reconcileContainer(record, context);
    } catch (error) {
      // One container that can't be mended must not keep the daemon from serving the others; a removal tries again.
      const message = `container could not be reconciled: ${messageOf(error)}`;
      context.log.error({ container: record.id, pod: record.podId, err: error }, message);
    }
  };
  await Promise.all(context.records.all().map(reconcile));
  await removeOrphans(context);
}

async function reconcileContainer(record: ContainerRecord, context: ReconcileContext): Promise<void> {
  const { transitions, lifetimes, dismantle, log, bootId } = context;
  const about = { container: record.id, pod: record.podId };
  if (record.state === 'creating') {
    log.warn(about, 'the creation of this container was interrupted: it is undone');
    await removeFiles(record, dismantle);
    await transitions.remove(record.id);
  } else if (record.state === 'created') {
    const found = await dismantle.task.recover(dismantle.taskSpec(record));
    if (found === undefined) return;
    log.warn(about, 'this container was started, but the daemon ended before it could say so');
    const running = { ...record, state: 'running' as const, pid: found.running?.pid, startedAtNs: nowNs(), bootId };
    await transitions.change(running);
    await settle(running, found, context);
  } else if (record.state === 'running') {
    await reconcileRunning(record, context);
  } else if (await isRootfsMounted(record.directory)) {
    await lifetimes.release(record);
  }
}

async function reconcileRunning(record: ContainerRecord, context: ReconcileContext): Promise<void> {
  const { transitions, lifetimes, dismantle, bootId } = context;
  const sameBoot = record.bootId === bootId;
  const found = sameBoot ? await dismantle.task.recover(dismantle.taskSpec(record)) : undefined;
  if (found) return settle(record, found, context);
  const why = sameBoot ? 'nothing is left that tells how the container ended' : 'the host was restarted';
  await transitions.change(unknownExitRecord(record, why));
  await lifetimes.release(record);
}

/** Watches a container that still runs; writes the end of one that does not. */
async function settle(
  record: ContainerRecord,
  found: { readonly running?: RunningTask; readonly exit?: TaskExit },
  { transitions, lifetimes }: ReconcileContext,
): Promise<void> {
  if (found.exit === undefined) {
    lifetimes.watch(record);
    return;
  }
  await transitions.change(exitedRecord(record, found.exit));
  await lifetimes.release(record);
}

async function removeOrphans(context: ReconcileContext): Promise<void> {
  const { records, log, containersDirectory, dismantle } = context;
  for (const id of await namesIn(containersDirectory)) {
    if (records.has(id)) continue;
    const directory = join(containersDirectory, id);
    try {
      await unmountOrphanVolumes(directory, dismantle.snapshotter);
      await dismantle.snapshotter.unmount(rootfsPath(directory));
      await removeBundle(directory);
      log.warn({ container: id }, 'removed a bundle that no container owns');
    } catch (error) {
      const message = `a bundle that no container owns could not be removed: ${messageOf(error)}`;
      log.error({ container: id, err: error }, message);
    }
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
