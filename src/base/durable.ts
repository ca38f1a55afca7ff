/** Files that survive a power cut: temporary file, write, fsync, rename, fsync of the directory. */
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { failpoint } from './failpoint.ts';

let counter = 0;

/** Replaces `path` with `data`, whole or not at all; durable when it returns. */
export async function writeFileDurably(path: string, data: string | Uint8Array, mode = 0o600): Promise<void> {
  const temporary = `${path}.${process.pid}.${counter++}.tmp`;
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

/** Makes the names in a directory durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
