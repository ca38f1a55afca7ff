/** How much a tree holds: blocks on disk and inodes, a file with several links once (du). It waits for the disk. */

import { errnoOf } from '../base/errors.ts';
import { AT_FDCWD, closeDescriptor, O_DIRECTORY, O_NOFOLLOW, openat } from '../linux/index.ts';
import { type ByteString, pathOf } from './byte-string.ts';
import type { Usage } from './index.ts';
import { statusOf } from './layer-tree.ts';
import { isDirectory } from './metadata.ts';
import { namesIn } from './remove-tree.ts';

const BLOCK_BYTES = 512;
/** Each level holds a descriptor. What a container nests deeper than any path can say is not counted. */
const DEPTH_MAX = 2048;

/** The tree may change while it is measured: what vanishes meanwhile is not counted. */
export function measureTree(directory: string): Usage {
  let blocks = 0;
  let inodes = 0;
  const seen = new Set<bigint>();
  const measure = (fd: number, name: ByteString, depth: number): void => {
    const status = statusOf(fd, name);
    if (!status) return;
    const directoryHere = isDirectory(status);
    if (status.links > 1 && !directoryHere) {
      if (seen.has(status.inode)) return;
      seen.add(status.inode);
    }
    blocks += Number(status.blocks);
    inodes++;
    if (!directoryHere || depth === DEPTH_MAX) return;
    const below = tryOpen(fd, name);
    if (below === undefined) return;
    try {
      for (const child of namesIn(below)) measure(below, child, depth + 1);
    } finally {
      closeDescriptor(below);
    }
  };
  const root = openat(AT_FDCWD, directory, O_DIRECTORY);
  try {
    measure(root, '.' as ByteString, 0);
  } finally {
    closeDescriptor(root);
  }
  return { sizeBytes: blocks * BLOCK_BYTES, inodes };
}

function tryOpen(fd: number, name: ByteString): number | undefined {
  try {
    return openat(fd, pathOf(name), O_DIRECTORY | O_NOFOLLOW);
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
    throw error;
  }
}
