/** Writable snapshots and views: from nothing to active, from active to committed. */
import { chown, mkdir } from 'node:fs/promises';
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { SnapshotContext } from './context.ts';
import type { PrepareOptions, SnapshotInfo } from './index.ts';
import { copyRootOf } from './init-layer.ts';
import { commitSnapshot, infoOf, mustNotExist, needSnapshot, type SnapshotRow } from './rows.ts';

export async function prepareSnapshot(
  context: SnapshotContext,
  name: string,
  parentName: string | undefined,
  { view = false, rootOwner }: PrepareOptions = {},
): Promise<SnapshotInfo> {
  const kind = view ? 'view' : 'active';
  if (name === '') throw new CairnError('InvalidArgument', 'a snapshot needs a name', { step: 'snapshotter.prepare' });
  using _lock = await context.locks.lock(name);
  mustNotExist(context.store, name);
  const parent = context.parent(parentName);
  const id = context.nextId();
  try {
    await makeActiveDirectory(context, { id, kind, parentId: parent?.id });
    if (rootOwner && !view) await chown(context.directories.fs(id), rootOwner.uid, rootOwner.gid);
    await failpoint('snapshotter.prepare.row');
    return await context.insert({ id, name, kind, usage: undefined }, parent);
  } catch (error) {
    await context.trash.discard(context.directories.of(id));
    throw error;
  }
}

/**
 * Not synced: a container's start would wait for the disk, and all that a power cut can take is an empty directory, which
 * `reconcile` makes anew.
 */
export async function makeActiveDirectory(
  { directories }: SnapshotContext,
  row: Pick<SnapshotRow, 'id' | 'kind' | 'parentId'>,
): Promise<void> {
  await mkdir(directories.of(row.id), { mode: 0o700 });
  await failpoint('snapshotter.prepare.directory');
  await mkdir(directories.fs(row.id), { mode: 0o755 });
  if (row.kind === 'active') await mkdir(directories.work(row.id), { mode: 0o700 });
  if (row.parentId !== undefined) copyRootOf(directories.fs(row.parentId), directories.fs(row.id));
}

export async function commitActive(context: SnapshotContext, activeName: string, name: string): Promise<SnapshotInfo> {
  using _lock = await context.locks.lock(activeName);
  const row = needSnapshot(context.store, activeName);
  if (row.kind !== 'active') {
    throw new CairnError(
      'FailedPrecondition',
      `snapshot ${activeName} is ${row.kind}: only an active one can be committed`,
    );
  }
  if (name !== activeName) mustNotExist(context.store, name);
  const usage = await context.trees.run({ kind: 'measure', path: context.directories.fs(row.id) });
  await failpoint('snapshotter.commit.sync');
  await context.sync.sync();
  await failpoint('snapshotter.commit.row');
  await context.store.transaction((tx) => {
    if (name !== activeName) mustNotExist(tx, name);
    commitSnapshot(tx, row.id, name, usage);
  });
  context.countSnapshots();
  await context.trash.discard(context.directories.work(row.id));
  return infoOf(needSnapshot(context.store, name));
}
