/**
 * Brings the rows and the world together at start.
 *
 * - What was being made when the daemon died is undone.
 * - A ready pod of an earlier boot, or one that lost a pin, its shared memory or its init process, becomes notready, and what is
 *   left of it is given back (its network too: the address is still taken).
 * - A notready pod whose stop was interrupted is taken apart to the end.
 * - Directories, pins and attachments that no row owns are removed. A pin is ours when we have a directory of that ID:
 *   another cairnd may pin its own beside them.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, messageOf } from '../base/errors.ts';
import { Semaphore } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { mountInfo, removeNamespace, unmount } from '../linux/index.ts';
import type { NetworkService } from '../network/index.ts';
import type { Dismantler } from './dismantle.ts';
import { hasShm } from './files.ts';
import type { PodInit } from './init.ts';
import { isPinned, type PinPaths, pinPathsOf } from './namespaces.ts';
import type { PodRecord, PodRecords } from './records.ts';
import type { PodTransitions } from './transition.ts';

export interface ReconcileOptions {
  readonly records: PodRecords;
  readonly transitions: PodTransitions;
  readonly dismantler: Dismantler;
  readonly init: PodInit;
  readonly network: NetworkService;
  readonly log: Logger;
  readonly sandboxesDirectory: string;
  readonly netnsDirectory: string;
  readonly bootId: string;
  pinPaths(record: PodRecord): PinPaths;
  /** Watches the init process of a pod that is still ready. */
  watchInit(record: PodRecord): void;
}

/** Each one may run network plugins. */
const AT_ONCE_MAX = 8;

export async function reconcilePods(options: ReconcileOptions): Promise<void> {
  const places = new Semaphore(AT_ONCE_MAX);
  const reconcile = async (record: PodRecord) => {
    using _place = await places.acquire();
    try {
      await reconcilePod(record, options);
    } catch (error) {
      // One pod that can't be mended must not keep the daemon from serving the others; stop and remove try again.
      options.log.error({ pod: record.id, err: error }, `pod could not be reconciled: ${messageOf(error)}`);
    }
  };
  await Promise.all(options.records.all().map(reconcile));
  await removeOrphans(options);
}

async function reconcilePod(record: PodRecord, options: ReconcileOptions): Promise<void> {
  const { transitions, dismantler, log } = options;
  if (record.state === 'creating') {
    log.warn({ pod: record.id }, 'the making of this pod was interrupted: it is undone');
    await undoPod(record, options);
    return;
  }
  if (record.state === 'ready') {
    const loss = await whatIsLost(record, options);
    if (loss === undefined) {
      if (record.namespaces.pid !== undefined) options.watchInit(record);
      return;
    }
    log.warn({ pod: record.id, loss }, `pod is no longer ready: ${loss}`);
    await transitions.change({ ...record, state: 'notready' });
  }
  await dismantler.dismantle(record);
}

/** Why a ready pod is not ready any more; undefined when it is. */
async function whatIsLost(record: PodRecord, options: ReconcileOptions): Promise<string | undefined> {
  if (record.bootId !== options.bootId) return 'the host was restarted';
  for (const [name, path] of Object.entries(record.namespaces)) {
    if (path !== undefined && !(await isPinned(path))) return `its ${name} namespace is gone`;
  }
  if (!(await hasShm(record.directory, record.config))) return 'its shared memory is gone';
  if (record.namespaces.pid !== undefined && !(await options.init.recover(record))) return 'its init process is gone';
  return undefined;
}

/** Undoes a pod that never became ready. When that fails the pod stays, notready, so that somebody can stop and remove it. */
export async function undoPod(
  record: PodRecord,
  { transitions, dismantler, log }: Pick<ReconcileOptions, 'transitions' | 'dismantler' | 'log'>,
): Promise<void> {
  try {
    await dismantler.dismantle(record);
    await dismantler.removeDirectories(record);
    await transitions.remove(record.id);
  } catch (error) {
    const message = `pod could not be undone, and stays until it is removed: ${messageOf(error)}`;
    log.error({ pod: record.id, err: error }, message);
    await transitions.change({ ...record, state: 'notready' });
  }
}

async function removeOrphans(options: ReconcileOptions): Promise<void> {
  const { records, network, log, sandboxesDirectory, netnsDirectory } = options;
  const attempt = async (what: string, id: string, work: () => Promise<unknown>) => {
    try {
      await work();
      log.warn({ pod: id }, `removed ${what} that no pod owns`);
    } catch (error) {
      log.error({ pod: id, err: error }, `${what} that no pod owns could not be removed: ${messageOf(error)}`);
    }
  };
  const attachments = await network.attachments();
  for (const request of attachments.filter(({ id }) => !records.has(id))) {
    await attempt('a network attachment', request.id, async () => {
      const netnsPath = request.netnsPath !== '' && (await isPinned(request.netnsPath)) ? request.netnsPath : '';
      await network.remove({ ...request, netnsPath });
    });
  }
  for (const id of (await namesIn(sandboxesDirectory)).filter((name) => !records.has(name))) {
    const directory = join(sandboxesDirectory, id);
    await attempt('a sandbox directory', id, async () => {
      await removeNamespace(pinPathsOf(netnsDirectory, directory, id).network);
      await unmountBelow(directory);
      await rm(directory, { recursive: true, force: true });
    });
  }
}

/** Innermost first. */
async function unmountBelow(directory: string): Promise<void> {
  const inside = (await mountInfo()).filter(({ target }) => target.startsWith(`${directory}/`));
  for (const { target } of inside.toReversed()) await unmount(target, { detach: true });
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
