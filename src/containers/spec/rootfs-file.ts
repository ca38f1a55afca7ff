/**
 * Reads a small file of a container's root filesystem. Its content and every symlink on the way were made by strangers: the
 * path is resolved inside that root, what is not a regular file is not opened, and no more than a bound is read.
 */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { CairnError, errnoOf } from '../../base/errors.ts';
import {
  AT_FDCWD,
  closeDescriptor,
  O_DIRECTORY,
  O_PATH,
  openat2,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  statusAt,
} from '../../linux/index.ts';
import type { UserDatabase } from './user.ts';

const USER_FILE_BYTES_MAX = 4 << 20;

export async function readUserDatabase(rootPath: string): Promise<UserDatabase> {
  const [passwd, group] = await Promise.all([
    readRootfsFile(rootPath, '/etc/passwd', USER_FILE_BYTES_MAX),
    readRootfsFile(rootPath, '/etc/group', USER_FILE_BYTES_MAX),
  ]);
  return { passwd, group };
}

/** The file's text; empty when it does not exist. InvalidArgument when it is no regular file or too large. */
export async function readRootfsFile(rootPath: string, path: string, sizeBytesMax: number): Promise<string> {
  const file = openInRoot(rootPath, path);
  if (file === undefined) return '';
  try {
    const status = statusAt(file, '');
    if ((status.mode & constants.S_IFMT) !== constants.S_IFREG) throw refuse(`${path} of the image is no regular file`);
    if (status.sizeBytes > BigInt(sizeBytesMax))
      throw refuse(`${path} of the image has more than ${sizeBytesMax} bytes`);
    return await readBounded(`/proc/self/fd/${file}`, sizeBytesMax);
  } finally {
    closeDescriptor(file);
  }
}

/** O_PATH opens nothing yet: a FIFO can't block us and a device is not touched before we know what it is. */
function openInRoot(rootPath: string, path: string): number | undefined {
  const root = openat2(AT_FDCWD, rootPath, { flags: O_PATH | O_DIRECTORY, resolve: 0 });
  try {
    return openat2(root, path, { flags: O_PATH, resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS });
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    if (errno === 'ELOOP') throw refuse(`${path} of the image: too many symlinks`);
    throw error;
  } finally {
    closeDescriptor(root);
  }
}

async function readBounded(path: string, sizeBytesMax: number): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const buffer = Buffer.alloc(Math.min(size, sizeBytesMax));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await file.close();
  }
}

function refuse(message: string): CairnError {
  return new CairnError('InvalidArgument', message, { step: 'container.user' });
}
