/** Files that survive a power cut: temporary file, write, fsync, rename, fsync of the directory. */
import { open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { failpoint } from './failpoint.ts';

const TEMPORARY = '.tmp';
let counter = 0;

/** Replaces `path` with `data`, whole or not at all; durable when it returns. */
export async function writeFileDurably(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const temporary = `${path}.${process.pid}.${counter++}${TEMPORARY}`;
  try {
    const file = await open(temporary, 'wx', mode);
    try {
      await file.writeFile(data);
      await failpoint('durable.sync');
      await file.sync();
    } finally {
      await file.close();
    }
    await failpoint('durable.rename');
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncDirectory(dirname(path));
}

/** Removes what writes that a crash cut off have left in a directory. Nobody writes into it meanwhile. */
export async function removeTemporaries(directory: string): Promise<void> {
  const left = (await readdir(directory)).filter((name) => name.endsWith(TEMPORARY));
  await Promise.all(left.map((name) => rm(join(directory, name), { force: true })));
}

/** Makes the names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
