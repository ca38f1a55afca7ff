/**
 * Settles what a layer that was unpacked alone could not know: the layers below.
 *
 * - A directory without an entry of its own looks as it does below: mode, owner, times, attributes.
 * - Where the layers below have a symlink in its place, its contents belong to where that leads (as they would have gone,
 *   had the layer been unpacked on top).
 * - A hard link to a file below: the kernel copies that file up and links it.
 * - Without any layer below, whiteouts hide nothing and go.
 */

import { constants } from 'node:fs';
import { renameat, unlinkat } from '../linux/index.ts';
import { refusedArchive } from './archive-error.ts';
import { type ByteString, pathOf, readable } from './byte-string.ts';
import { baseOf, isBelow, joinPath, LAYER_ROOT, type LayerPath, parentOf } from './layer-path.ts';
import { type LayerDirectory, LayerTree, locate, statusOf } from './layer-tree.ts';
import { viewLayers } from './layer-view.ts';
import { mendLinks } from './mend-links.ts';
import { applyMetadata, applyTime, fileType, isDirectory, readMetadata } from './metadata.ts';
import { namesIn, removeTree } from './remove-tree.ts';
import type { LayerNotes, PendingLink } from './unpack.ts';
import { isOpaque, isWhiteout, makeOpaque, makeWhiteout, removeOpaque } from './whiteout.ts';

export interface MendRequest {
  /** The unpacked layer. */
  readonly directory: string;
  /** A directory of our own on the same file system, for mounts and files under way. */
  readonly scratch: string;
  /** The layers below, top first. */
  readonly lower: readonly string[];
  readonly notes: LayerNotes;
}

export function needsMending(notes: LayerNotes, hasLower: boolean): boolean {
  if (!hasLower) return notes.hiding > 0 || notes.links.length > 0;
  return notes.implied.length > 0 || notes.links.length > 0 || notes.rootIsOpaque;
}

/** True when the layer is whole but for an entry for its root. */
export function lacksOnlyRoot({ implied, links, rootIsOpaque }: LayerNotes): boolean {
  return implied.length === 1 && implied[0] === LAYER_ROOT && links.length === 0 && !rootIsOpaque;
}

export function mendLayer(request: MendRequest): void {
  const { directory, lower, notes, scratch } = request;
  if (lower.length === 0) {
    for (const { path, target } of notes.links) throw noTarget(path, target);
    using tree = new LayerTree(directory);
    revealAll(tree, LAYER_ROOT);
    return;
  }
  let links = notes.links;
  {
    using view = viewLayers(lower, `${scratch}/view`);
    using below = new LayerTree(view.path);
    using mender = new Mender(directory, below, notes);
    mender.run();
    links = mender.links;
  }
  if (links.length > 0) mendLinks({ directory, scratch, lower, links });
}

export function noTarget(path: LayerPath, target: LayerPath): Error {
  return refusedArchive(`${readable(path)} is a hard link to ${readable(target)}, which does not exist`);
}

/** Each one looks at all paths that are left; real layers have a handful (`/lib`, `/var/run`). */
const RELOCATIONS_MAX = 1000;

class Mender implements Disposable {
  readonly #tree: LayerTree;
  readonly #below: LayerTree;
  readonly #rootIsOpaque: boolean;
  /** Implied directories still to be looked at; a parent comes before what is in it. */
  #queue: LayerPath[];
  #relocations = 0;
  /** Those that stay where they are. */
  #settled: LayerPath[] = [];
  #links: readonly PendingLink[];
  /** Modification times to restore when all is done. */
  readonly #times = new Map<LayerPath, bigint>();

  constructor(directory: string, below: LayerTree, notes: LayerNotes) {
    this.#tree = new LayerTree(directory, (path) => this.#queue.push(path));
    this.#below = below;
    this.#rootIsOpaque = notes.rootIsOpaque;
    this.#queue = notes.implied.toSorted((a, b) => a.length - b.length);
    this.#links = notes.links;
  }

  get links(): readonly PendingLink[] {
    return this.#links;
  }

  run(): void {
    for (let next = 0; next < this.#queue.length; next++) {
      const path = this.#queue[next];
      if (path === undefined) continue;
      this.#release();
      if (this.#isSymlinkBelow(path)) this.#relocate(path);
      else this.#settled.push(path);
    }
    if (this.#rootIsOpaque) this.#hideRoot();
    for (const path of this.#settled) this.#adopt(path);
    for (const [path, timeNs] of this.#times) {
      this.#release();
      const place = locate(this.#tree, path);
      if (place && isDirectory(statusOf(place.parent.fd, place.name))) applyTime(place.parent.fd, place.name, timeNs);
    }
  }

  [Symbol.dispose](): void {
    this.#tree[Symbol.dispose]();
  }

  #release(): void {
    this.#tree.release();
    this.#below.release();
  }

  #isSymlinkBelow(path: LayerPath): boolean {
    const parent = this.#below.findPlain(parentOf(path));
    const status = parent && path !== LAYER_ROOT ? statusOf(parent.fd, baseOf(path)) : undefined;
    return status !== undefined && fileType(status) === constants.S_IFLNK && !this.#isHidden(path);
  }

  /** True when this layer hides what the layers below have in a directory above `path`. */
  #isHidden(path: LayerPath): boolean {
    for (let above = path; above !== LAYER_ROOT; ) {
      above = parentOf(above);
      const directory = this.#tree.findPlain(above);
      if (directory && isOpaque(directory.fd)) return true;
    }
    return false;
  }

  /** Moves what is in an implied directory to where the symlink below leads. */
  #relocate(path: LayerPath): void {
    if (++this.#relocations > RELOCATIONS_MAX) throw refusedArchive('too many directories lie behind symlinks');
    const destination = this.#tree.directory(this.#below.resolve(path));
    if (destination.path === path || isBelow(destination.path, path)) {
      throw refusedArchive(`${readable(path)} lies behind a symlink that leads back to it`);
    }
    const place = locate(this.#tree, path);
    const source = this.#tree.findPlain(path);
    // Nothing is there when its parent was relocated or replaced.
    if (!place || !source || source.path !== path) return;
    this.#remember(place.parent);
    this.#merge(source, destination);
    unlinkat(place.parent.fd, pathOf(place.name), { directory: true });
    this.#tree.forget();
    const moved = (from: LayerPath) =>
      isBelow(from, path) ? (`${destination.path}${from.slice(path.length)}` as LayerPath) : from;
    this.#queue = this.#queue.map(moved);
    this.#links = this.#links.map((link) => ({ ...link, path: moved(link.path) }));
  }

  #merge(source: LayerDirectory, destination: LayerDirectory): void {
    this.#remember(destination);
    for (const name of namesIn(source.fd)) this.#mergeEntry(source, destination, name);
  }

  #mergeEntry(source: LayerDirectory, destination: LayerDirectory, name: ByteString): void {
    const from = statusOf(source.fd, name);
    const to = statusOf(destination.fd, name);
    if (!from) return;
    const target = this.#tree.findPlain(joinPath(destination.path, name));
    const origin = this.#tree.findPlain(joinPath(source.path, name));
    if (to && isWhiteout(from)) {
      // A whiteout hides lower layers only.
      if (target) makeOpaque(target.fd);
      unlinkat(source.fd, pathOf(name));
      return;
    }
    if (origin && target && isDirectory(from) && isDirectory(to)) {
      this.#merge(origin, target);
      unlinkat(source.fd, pathOf(name), { directory: true });
      return;
    }
    if (to) removeTree(destination.fd, name);
    if (to && isWhiteout(to) && origin) makeOpaque(origin.fd);
    renameat(source.fd, pathOf(name), destination.fd, pathOf(name));
  }

  #remember(directory: LayerDirectory): void {
    if (this.#times.has(directory.path)) return;
    const status = statusOf(directory.fd, '.' as ByteString);
    if (status) this.#times.set(directory.path, status.modificationNs);
  }

  /** Takes over what the directory looks like below. */
  #adopt(path: LayerPath): void {
    this.#release();
    const place = locate(this.#tree, path);
    const parentBelow = this.#below.findPlain(parentOf(path));
    const name = path === LAYER_ROOT ? ('.' as ByteString) : baseOf(path);
    const status = parentBelow && statusOf(parentBelow.fd, name);
    if (!place || !parentBelow || !isDirectory(statusOf(place.parent.fd, place.name))) return;
    if (!status || !isDirectory(status) || this.#isHidden(path)) return;
    const metadata = readMetadata(parentBelow.fd, name, status);
    applyMetadata(place.parent.fd, place.name, metadata, false);
    this.#times.set(path, metadata.modificationNs);
  }

  /** Overlayfs merges roots in any case: hide the names one by one. */
  #hideRoot(): void {
    const { root } = this.#tree;
    this.#remember(root);
    const hidden = new Set<string>();
    for (const name of namesIn(this.#below.root.fd)) {
      const status = statusOf(root.fd, name);
      const directory = isDirectory(status) ? this.#tree.findPlain(name as ByteString as LayerPath) : undefined;
      if (directory) makeOpaque(directory.fd);
      if (!status) makeWhiteout(root.fd, name);
      hidden.add(name);
    }
    this.#settled = this.#settled.filter((path) => !hidden.has(path));
  }
}

/** Removes every whiteout and opaque mark: with nothing below there is nothing to hide. */
function revealAll(tree: LayerTree, path: LayerPath): void {
  const place = locate(tree, path);
  const directory = tree.findPlain(path);
  const status = place && statusOf(place.parent.fd, place.name);
  if (!place || !directory || !status) return;
  if (isOpaque(directory.fd)) removeOpaque(directory.fd);
  for (const name of namesIn(directory.fd)) {
    const entry = statusOf(directory.fd, name);
    if (entry && isWhiteout(entry)) unlinkat(directory.fd, pathOf(name));
    if (isDirectory(entry)) revealAll(tree, joinPath(path, name));
  }
  applyTime(place.parent.fd, place.name, status.modificationNs);
}
