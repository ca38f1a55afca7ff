/**
 * Mounts of snapshots for a user namespace: overlayfs over ID-mapped mounts of the layers (Linux 5.19).
 *
 * Overlayfs keeps private clones of its layers' mounts, so the mapped ones exist only while it is mounted. They lie in
 * `staging/X/view`, which is where a crash may leave mounts (see trash.ts), and are read-only: whatever goes wrong, nobody
 * reaches the layers through them.
 */
import { chown, mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, errnoOf, isCairnError, messageOf } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import {
  mountAllMapped,
  mountMapped,
  mountOverlay,
  pinUserNamespace,
  removeNamespace,
  unmount,
} from '../linux/index.ts';
import type { SnapshotContext } from './context.ts';
import { OVERLAY_OPTIONS } from './layer-view.ts';
import { applyMount, type MountPlan } from './mounting.ts';

export async function applyMappedMount(
  context: SnapshotContext,
  plan: MountPlan,
  name: string,
  target: string,
  userNamespace: string,
): Promise<void> {
  // Nothing but its own, unmapped, writable layer.
  if (plan.kind === 'bind' && !plan.readonly) return applyMount(plan, name, target);
  try {
    if (plan.kind === 'bind') mountMapped(plan.source, target, userNamespace);
    else await mountOverMapped(context, plan, target, userNamespace);
  } catch (error) {
    const message = `snapshot ${name} can't be mounted at ${target} for a user namespace: ${messageOf(error)}`;
    throw new CairnError('Internal', message, { step: 'snapshotter.mount', cause: error });
  }
}

async function mountOverMapped(
  { directories, trash }: SnapshotContext,
  plan: MountPlan & { kind: 'overlay' },
  target: string,
  userNamespace: string,
): Promise<void> {
  const scratch = join(directories.staging, newId());
  const view = join(scratch, 'view');
  await mkdir(view, { recursive: true, mode: 0o700 });
  try {
    const lower = mountAllMapped(plan.lower, view, userNamespace);
    await mountOverlay({ ...plan, lower, target, options: OVERLAY_OPTIONS });
    await unmount(view, { detach: true });
    await rmdir(view);
    await rmdir(scratch);
  } catch (error) {
    await trash.discard(scratch);
    throw error;
  }
}

/** Any ID that is not 0. */
const PROBE_ID = 65_536;

/** Tries it with two empty layers. */
export async function findUserNamespaceObstacle(context: SnapshotContext): Promise<string | undefined> {
  const staged = await context.directories.stage();
  const [lower, upper, work, target] = ['lower', 'upper', 'work', 'target'].map((name) => join(staged.path, name));
  const namespace = join(staged.path, 'user');
  const range = [{ containerId: 0, hostId: PROBE_ID, length: 1 }];
  try {
    if (!lower || !upper || !work || !target) throw new Error('four names make four paths');
    for (const path of [lower, upper, work, target]) await mkdir(path);
    await chown(upper, PROBE_ID, PROBE_ID);
    await pinUserNamespace({ user: namespace }, { uids: range, gids: range });
    await mountOverMapped(context, { kind: 'overlay', lower: [lower], upper, work }, target, namespace);
    await unmount(target);
    return undefined;
  } catch (error) {
    if (isCairnError(error, 'FailedPrecondition')) return error.message;
    if (errnoOf(error) === undefined) throw error;
    return `layers in ${context.directories.root} can't be mounted for a user namespace: ${messageOf(error)}`;
  } finally {
    await removeNamespace(namespace);
    await context.trash.discard(staged.path);
  }
}
