/** Work on whole trees, which belongs into a thread of its own. Values only: they are copied between threads. */
import { basename, dirname } from 'node:path';
import { AT_FDCWD, closeDescriptor, O_DIRECTORY, openat } from '../linux/index.ts';
import { bytesOfText } from './byte-string.ts';
import type { Usage } from './index.ts';
import { measureTree } from './measure-tree.ts';
import { type MendRequest, mendLayer } from './mend-layer.ts';
import { removeTree } from './remove-tree.ts';

export type TreeJob =
  | { readonly kind: 'measure'; readonly path: string }
  | { readonly kind: 'remove'; readonly path: string }
  | ({ readonly kind: 'mend' } & MendRequest);

/** What the tree holds (nothing, after a removal). */
export function runTreeJob(job: TreeJob): Usage {
  switch (job.kind) {
    case 'measure':
      return measureTree(job.path);
    case 'mend':
      mendLayer(job);
      return measureTree(job.directory);
    case 'remove':
      removePath(job.path);
      return { sizeBytes: 0, inodes: 0 };
  }
}

function removePath(path: string): void {
  const parent = openat(AT_FDCWD, dirname(path), O_DIRECTORY);
  try {
    removeTree(parent, bytesOfText(basename(path)));
  } finally {
    closeDescriptor(parent);
  }
}
