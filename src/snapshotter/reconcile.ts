/** At start: the rows are the truth, and the directories follow. */
import { mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { removeRow } from './collect.ts';
import type { SnapshotContext } from './context.ts';
import { makeActiveDirectory } from './prepare.ts';
import { allSnapshots, type SnapshotRow } from './rows.ts';

/** Safe to repeat. Nothing may be under way. */
export async function reconcileSnapshots(context: SnapshotContext): Promise<void> {
  const { directories, trash, log } = context;
  for (const name of await readdir(directories.staging)) await trash.discard(join(directories.staging, name));
  const rows = allSnapshots(context.store);
  const known = new Set(rows.map((row) => row.id));
  for (const id of await directories.ids()) {
    if (known.has(id)) continue;
    log.info({ snapshot: id }, 'removing a snapshot directory that no row knows');
    await trash.discard(directories.of(id));
  }
  // From the tops of the chains down: a lost snapshot is only forgotten when nothing stands on it.
  for (const row of rows.toReversed()) await reconcileRow(context, row);
  await trash.takeUp();
}

async function reconcileRow(context: SnapshotContext, row: SnapshotRow): Promise<void> {
  const { directories, trash, log } = context;
  if (await isDirectory(directories.fs(row.id))) {
    // Overlayfs left it from the time when the snapshot was writable.
    if (row.kind === 'committed') await trash.discard(directories.work(row.id));
    else if (row.kind === 'active') await mkdir(directories.work(row.id), { recursive: true, mode: 0o700 });
    return;
  }
  if (row.kind !== 'committed') {
    // `prepare` does not wait for the disk: a power cut may take an empty directory, never a row.
    log.info({ snapshot: row.name }, 'making the directory of a writable snapshot anew');
    await trash.discard(directories.of(row.id));
    await makeActiveDirectory(context, row);
    return;
  }
  const where = directories.of(row.id);
  const removed = await removeRow(context, row);
  log.error(
    { snapshot: row.name, directory: where },
    removed
      ? 'the files of a snapshot are gone; pulling its image again brings them back'
      : 'the files of a snapshot are gone; remove the containers and images that stand on it, then pull again',
  );
}

async function isDirectory(path: string): Promise<boolean> {
  const status = await stat(path).catch(() => undefined);
  return status?.isDirectory() ?? false;
}
