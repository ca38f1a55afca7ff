/**
 * The init layer: a thin snapshot between an image and the writable layers of its containers. It holds the mount points
 * that every container needs and the image lacks, so that they never show up in a container's own layer, a commit or an
 * export.
 *
 * Whatever the image has at such a name stays as it is, a symlink too: following it could lead anywhere, and the runtime
 * resolves mount points itself. Directories on the way look as they do in the image.
 */
import { constants } from 'node:fs';
import { closeDescriptor, openat, symlinkat } from '../linux/index.ts';
import type { ByteString } from './byte-string.ts';
import type { LayerPath } from './layer-path.ts';
import { type LayerDirectory, LayerTree, makeDirectory, statusOf } from './layer-tree.ts';
import { viewLayers } from './layer-view.ts';
import { applyMetadata, applyTime, isDirectory, readMetadata } from './metadata.ts';

const DIRECTORIES = ['dev', 'proc', 'sys'] as readonly string[] as readonly ByteString[];
const FILES = ['hosts', 'hostname', 'resolv.conf'] as readonly string[] as readonly ByteString[];
const ETC = 'etc' as ByteString;
const MTAB = 'mtab' as ByteString;
const HERE = '.' as ByteString;
/** Nothing in here happened at any time. */
const TIME_NS = 0n;

/** Fills `directory` with what `lower` (top first) lacks. `scratch` is a directory for a mount. */
export function fillInitLayer(directory: string, lower: readonly string[], scratch: string): void {
  using tree = new LayerTree(directory);
  if (lower.length === 0) {
    for (const name of DIRECTORIES) makePlain(tree.root, name);
    makePlain(tree.root, ETC);
    fillEtc(tree.directory(ETC as string as LayerPath), undefined);
    return;
  }
  using view = viewLayers(lower, `${scratch}/view`);
  using below = new LayerTree(view.path);
  for (const name of DIRECTORIES) {
    if (!statusOf(below.root.fd, name)) makePlain(tree.root, name);
  }
  addEtc(tree, below);
  copyRoot(tree.root, below.root);
}

/** A writable layer's root is the root that its container sees: it looks like the one below. */
export function copyRoot(root: LayerDirectory, below: LayerDirectory): void {
  const status = statusOf(below.fd, HERE);
  if (status) applyMetadata(root.fd, HERE, readMetadata(below.fd, HERE, status), false);
}

function addEtc(tree: LayerTree, below: LayerTree): void {
  const status = statusOf(below.root.fd, ETC);
  // A file or a symlink: what is in /etc is then the image's own affair.
  if (status && !isDirectory(status)) return;
  const etcBelow = below.findPlain(ETC as string as LayerPath);
  const isMissing = (name: ByteString) => !etcBelow || !statusOf(etcBelow.fd, name);
  if (![...FILES, MTAB].some(isMissing)) return;
  makePlain(tree.root, ETC);
  fillEtc(tree.directory(ETC as string as LayerPath), etcBelow);
  if (status) applyMetadata(tree.root.fd, ETC, readMetadata(below.root.fd, ETC, status), false);
}

function fillEtc(etc: LayerDirectory, below: LayerDirectory | undefined): void {
  const isMissing = (name: ByteString) => !below || !statusOf(below.fd, name);
  for (const name of FILES.filter(isMissing)) {
    closeDescriptor(openat(etc.fd, name, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644));
    applyMetadata(etc.fd, name, { mode: 0o644, uid: 0, gid: 0, modificationNs: TIME_NS, xattrs: new Map() }, false);
  }
  if (isMissing(MTAB)) {
    symlinkat('/proc/mounts', etc.fd, MTAB);
    applyTime(etc.fd, MTAB, TIME_NS);
  }
  applyTime(etc.fd, HERE, TIME_NS);
}

function makePlain(root: LayerDirectory, name: ByteString): void {
  makeDirectory(root.fd, name);
  applyTime(root.fd, name, TIME_NS);
}

/** Makes the root of a new snapshot look like the one below. */
export function copyRootOf(lower: string, directory: string): void {
  using tree = new LayerTree(directory);
  using below = new LayerTree(lower);
  copyRoot(tree.root, below.root);
}
