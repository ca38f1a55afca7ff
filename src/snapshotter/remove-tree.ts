/**
 * Removes whole trees, whatever is in them: names that are not text, and directories nested deeper than a path can say.
 * It waits for the disk, so it belongs into a worker thread.
 */
import { readdirSync } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import {
  closeDescriptor,
  descriptorPath,
  O_DIRECTORY,
  O_NOFOLLOW,
  openat,
  renameat,
  unlinkat,
} from '../linux/index.ts';
import { type ByteString, byteString, pathOf } from './byte-string.ts';

/** Each level holds a descriptor; what is deeper is moved up and removed from there. */
const DEPTH_MAX = 64;

/** Removes the entry, and if it is a directory all below it. No error when there is none. */
export function removeTree(directoryFd: number, name: ByteString): void {
  let moved = 0;
  const removeBelow = (parentFd: number, child: ByteString, depth: number): void => {
    if (depth > DEPTH_MAX) {
      renameat(parentFd, pathOf(child), directoryFd, pathOf(deepName(name, moved++)));
      return;
    }
    if (!tryUnlink(parentFd, child)) return;
    const fd = openat(parentFd, pathOf(child), O_DIRECTORY | O_NOFOLLOW);
    try {
      for (const entry of namesIn(fd)) removeBelow(fd, entry, depth + 1);
    } finally {
      closeDescriptor(fd);
    }
    unlinkat(parentFd, pathOf(child), { directory: true });
  };
  removeBelow(directoryFd, name, 0);
  for (let done = 0; done < moved; done++) removeBelow(directoryFd, deepName(name, done), 0);
}

/** Beside the tree, and short enough for any name. */
function deepName(name: ByteString, index: number): ByteString {
  return `${name.slice(0, 128)}.deep-${index}` as ByteString;
}

/** True when the entry is a directory, which this can't remove. */
function tryUnlink(directoryFd: number, name: ByteString): boolean {
  try {
    unlinkat(directoryFd, pathOf(name));
    return false;
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EISDIR') return true;
    if (code === 'ENOENT') return false;
    throw error;
  }
}

/** The names in an open directory, as bytes. */
export function namesIn(directoryFd: number): ByteString[] {
  return readdirSync(descriptorPath(directoryFd) as string, { encoding: 'buffer' }).map(byteString);
}
