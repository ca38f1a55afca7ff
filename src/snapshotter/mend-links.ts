/**
 * Hard links to files of lower layers. The layer is mounted on top of the others and the kernel does what it would have
 * done for a container: it copies the file up, holes, attributes, parent directories and all, and links the copy.
 */
import { constants } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import {
  AT_FDCWD,
  closeDescriptor,
  linkat,
  O_DIRECTORY,
  O_PATH,
  openat,
  openat2,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  renameat,
  unlinkat,
} from '../linux/index.ts';
import { refusedArchive } from './archive-error.ts';
import { type ByteString, pathOf, readable } from './byte-string.ts';
import { baseOf, joinPath, LAYER_ROOT, type LayerPath, parentOf } from './layer-path.ts';
import { LayerTree, locate, statusOf } from './layer-tree.ts';
import { writableView } from './layer-view.ts';
import { applyMetadata, applyTime, fileType } from './metadata.ts';
import { removeTree } from './remove-tree.ts';
import { isPlaceholder, type PendingLink } from './unpack.ts';

export interface LinkRequest {
  readonly directory: string;
  readonly scratch: string;
  readonly lower: readonly string[];
  readonly links: readonly PendingLink[];
}

export function mendLinks({ directory, scratch, lower, links }: LinkRequest): void {
  using tree = new LayerTree(directory);
  const times = new Map<LayerPath, bigint>();
  const wanted = links.filter((link) => clearPlace(tree, link.path, times));
  const replaced = new Set(wanted.filter((link) => link.targetIsReplaced).map((link) => link.target));
  const aside = Array.from(replaced, (path, index) => setAside(tree, path, `${scratch}/aside-${index}`, times));
  tree.forget();
  tree.release();
  {
    using view = writableView(lower, directory, `${scratch}/work`, `${scratch}/view`);
    for (const link of wanted) linkInView(view.path, link);
  }
  for (const putBack of aside) putBack();
  for (const link of wanted) {
    const place = locate(tree, link.path);
    const status = place && statusOf(place.parent.fd, place.name);
    if (place && status) applyMetadata(place.parent.fd, place.name, link, fileType(status) === constants.S_IFLNK);
    tree.release();
  }
  for (const [path, timeNs] of times) {
    const place = locate(tree, path);
    if (place) applyTime(place.parent.fd, place.name, timeNs);
    tree.release();
  }
}

/** Removes what holds the link's place. False when a later entry took it: then the link is not wanted any more. */
function clearPlace(tree: LayerTree, path: LayerPath, times: Map<LayerPath, bigint>): boolean {
  tree.release();
  const place = locate(tree, path);
  const status = place && statusOf(place.parent.fd, place.name);
  if (!place || !status || !isPlaceholder(status)) return false;
  rememberTime(place.parent.fd, parentOf(path), times);
  unlinkat(place.parent.fd, pathOf(place.name));
  return true;
}

/** Takes this layer's own entry (a whiteout, a newer file) out of the kernel's sight. Returns what puts it back. */
function setAside(tree: LayerTree, path: LayerPath, asidePath: string, times: Map<LayerPath, bigint>): () => void {
  const parent = tree.find(parentOf(path));
  const name = baseOf(path);
  if (!parent || !statusOf(parent.fd, name)) return () => undefined;
  rememberTime(parent.fd, parent.path, times);
  renameat(parent.fd, pathOf(name), AT_FDCWD, asidePath);
  return () => {
    const place = locate(tree, joinPath(parent.path, name));
    if (!place) throw new Error('a directory vanished while it was mended');
    removeTree(place.parent.fd, name);
    renameat(AT_FDCWD, asidePath, place.parent.fd, pathOf(name));
  };
}

function rememberTime(directoryFd: number, path: LayerPath, times: Map<LayerPath, bigint>): void {
  const status = statusOf(directoryFd, '.' as ByteString);
  if (status && !times.has(path)) times.set(path, status.modificationNs);
}

function linkInView(viewPath: string, { path, target }: PendingLink): void {
  const opened: number[] = [];
  const open = (directory: LayerPath) => {
    const root = openat(AT_FDCWD, viewPath, O_DIRECTORY);
    opened.push(root);
    const name = directory === LAYER_ROOT ? '.' : pathOf(directory);
    const fd = openat2(root, name, { flags: O_PATH | O_DIRECTORY, resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS });
    opened.push(fd);
    return fd;
  };
  try {
    linkat(open(parentOf(target)), pathOf(baseOf(target)), open(parentOf(path)), pathOf(baseOf(path)));
  } catch (error) {
    const code = errnoOf(error);
    // EPERM: the target is a directory.
    if (code !== 'ENOENT' && code !== 'ENOTDIR' && code !== 'ELOOP' && code !== 'EPERM') throw error;
    throw refusedArchive(`${readable(path)} is a hard link to ${readable(target)}, which is no file`, error);
  } finally {
    for (const fd of opened) closeDescriptor(fd);
  }
}
