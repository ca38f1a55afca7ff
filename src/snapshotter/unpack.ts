/**
 * Applies the entries of a layer archive to a directory.
 *
 * The last entry of a name counts, whatever the earlier one was; directories keep what is in them. Whiteouts and opaque
 * markers become overlayfs's. What can't be decided without the layers below is left in `LayerNotes`:
 * `mend-layer.ts` settles it when they are known.
 */
import { constants, ftruncateSync, writeSync } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import {
  closeDescriptor,
  type FileStatus,
  linkat,
  makedev,
  mkdirat,
  mknodat,
  O_NOFOLLOW,
  openat,
  symlinkat,
  unlinkat,
} from '../linux/index.ts';
import { refusedArchive } from './archive-error.ts';
import { type ByteString, pathOf, readable } from './byte-string.ts';
import { baseOf, joinPath, LAYER_ROOT, type LayerPath, layerPath, parentOf } from './layer-path.ts';
import { type LayerDirectory, LayerTree, locate, statusOf } from './layer-tree.ts';
import { applyMetadata, applyTime, fileType, isDirectory, type Metadata } from './metadata.ts';
import { removeTree } from './remove-tree.ts';
import type { TarEntry, TarSink } from './tar-entry.ts';
import type { UnpackLimits } from './unpack-limits.ts';
import { isWhiteout, makeOpaque, makeWhiteout, markerOf } from './whiteout.ts';

/** A hard link whose target is in none of the layer's earlier entries: it must be in a layer below. */
export interface PendingLink extends Metadata {
  readonly path: LayerPath;
  readonly target: LayerPath;
  /** The layer has something of its own at the target, which came after the link: the link means the lower file. */
  readonly targetIsReplaced: boolean;
}

/** What the layers below decide. */
export interface LayerNotes {
  readonly implied: readonly LayerPath[];
  readonly links: readonly PendingLink[];
  /** Whiteouts and opaque directories: without a layer below they mean nothing. */
  readonly hiding: number;
  /** Overlayfs merges roots whatever their attributes say, so this marker needs whiteouts instead. */
  readonly rootIsOpaque: boolean;
}

/** Directories that nobody described, and nobody will. */
const UNKNOWN_TIME_NS = 0n;

interface OpenFile {
  readonly fd: number;
  readonly parent: LayerDirectory;
  readonly name: ByteString;
  readonly entry: TarEntry;
  reachedBytes: number;
}

export class LayerUnpacker implements TarSink, Disposable {
  readonly #limits: UnpackLimits;
  readonly #tree: LayerTree;
  readonly #directoryTimes = new Map<LayerPath, bigint>();
  /** By their own path. A socket holds their place: no archive can hold one. */
  readonly #links = new Map<LayerPath, PendingLink>();
  #deviceNodes = 0;
  #hiding = 0;
  #rootIsOpaque = false;
  /** The file that data goes to. */
  #file: OpenFile | undefined;

  constructor(directory: string, limits: UnpackLimits) {
    this.#limits = limits;
    this.#tree = new LayerTree(directory, (path) => {
      if (this.#tree.implied.size >= limits.impliedDirectoriesMax) {
        throw refusedArchive(`more than ${limits.impliedDirectoriesMax} directories without an entry`);
      }
      this.#directoryTimes.set(path, UNKNOWN_TIME_NS);
    });
    this.#tree.implied.add(LAYER_ROOT);
    this.#directoryTimes.set(LAYER_ROOT, UNKNOWN_TIME_NS);
  }

  begin(entry: TarEntry): void {
    this.#tree.release();
    const path = layerPath(entry.unsafeName);
    if (path === LAYER_ROOT) {
      this.#describeRoot(entry);
      return;
    }
    const name = baseOf(path);
    const marker = markerOf(name);
    if (marker?.kind === 'metadata') return;
    const parent = this.#tree.directory(parentOf(path));
    if (marker?.kind === 'opaque') this.#hideAll(parent);
    else if (marker?.kind === 'whiteout') this.#hide(parent, marker.name);
    else this.#make(parent, name, entry);
  }

  data(chunk: Buffer, offset: number): void {
    const file = this.#file;
    if (!file) return;
    withinFileSize(file.entry, () => {
      for (let done = 0; done < chunk.length; ) {
        done += writeSync(file.fd, chunk, done, chunk.length - done, offset + done);
      }
    });
    file.reachedBytes = offset + chunk.length;
  }

  end(): void {
    const file = this.#file;
    if (!file) return;
    const { fd, parent, name, entry } = file;
    // A hole at the end has no data that would make the file long enough.
    if (file.reachedBytes < entry.sizeBytes) withinFileSize(entry, () => ftruncateSync(fd, entry.sizeBytes));
    this.#file = undefined;
    closeDescriptor(fd);
    applyMetadata(parent.fd, name, entry, false);
  }

  /** Sets what must come last, and says what is left to the layers below. */
  finish(): LayerNotes {
    for (const [path, timeNs] of this.#directoryTimes) {
      const place = locate(this.#tree, path);
      // A later entry may have put something else there.
      if (place && isDirectory(statusOf(place.parent.fd, place.name))) applyTime(place.parent.fd, place.name, timeNs);
    }
    return {
      implied: [...this.#tree.implied],
      links: Array.from(this.#links.values(), (link) => ({ ...link, targetIsReplaced: this.#hasEntry(link.target) })),
      hiding: this.#hiding,
      rootIsOpaque: this.#rootIsOpaque,
    };
  }

  #hasEntry(path: LayerPath): boolean {
    const parent = this.#tree.find(parentOf(path));
    return parent !== undefined && statusOf(parent.fd, baseOf(path)) !== undefined;
  }

  [Symbol.dispose](): void {
    if (this.#file) closeDescriptor(this.#file.fd);
    this.#file = undefined;
    this.#tree[Symbol.dispose]();
  }

  #make(parent: LayerDirectory, name: ByteString, entry: TarEntry): void {
    switch (entry.type) {
      case 'file':
        this.#beginFile(parent, name, entry);
        return;
      case 'directory':
        this.#makeDirectory(parent, name, entry);
        return;
      case 'hardlink':
        this.#makeLink(parent, name, entry);
        return;
      case 'symlink':
        this.#makeSymlink(parent, name, entry);
        return;
      default:
        this.#makeNode(parent, name, entry);
    }
  }

  #beginFile(parent: LayerDirectory, name: ByteString, entry: TarEntry): void {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | O_NOFOLLOW;
    const fd = this.#inRoom(parent, name, () => openat(parent.fd, pathOf(name), flags, 0o600));
    this.#file = { fd, parent, name, entry, reachedBytes: 0 };
  }

  #makeDirectory(parent: LayerDirectory, name: ByteString, entry: TarEntry): void {
    const path = joinPath(parent.path, name);
    const status = statusOf(parent.fd, name);
    const overWhiteout = status !== undefined && isWhiteout(status);
    if (!isDirectory(status)) this.#inRoom(parent, name, () => mkdirat(parent.fd, pathOf(name), 0o700));
    if (overWhiteout) makeOpaque(this.#tree.directory(path).fd);
    applyMetadata(parent.fd, name, entry, false);
    this.#describe(path, entry.modificationNs);
  }

  #describeRoot(entry: TarEntry): void {
    if (entry.type !== 'directory') throw refusedArchive('the root of the layer is not a directory');
    applyMetadata(this.#tree.root.fd, '.' as ByteString, entry, false);
    this.#describe(LAYER_ROOT, entry.modificationNs);
  }

  #describe(path: LayerPath, modificationNs: bigint): void {
    this.#tree.implied.delete(path);
    this.#directoryTimes.set(path, modificationNs);
  }

  #makeSymlink(parent: LayerDirectory, name: ByteString, entry: TarEntry): void {
    const target = entry.unsafeLinkTarget;
    if (target === '' || target.includes('\0'))
      throw refusedArchive(`the symlink ${readable(entry.unsafeName)} has no target`);
    this.#inRoom(parent, name, () => symlinkat(pathOf(target), parent.fd, pathOf(name)));
    applyMetadata(parent.fd, name, entry, true);
  }

  #makeNode(parent: LayerDirectory, name: ByteString, entry: TarEntry): void {
    if (entry.type === 'fifo') {
      this.#inRoom(parent, name, () => mknodat(parent.fd, pathOf(name), constants.S_IFIFO | 0o600, 0n));
      applyMetadata(parent.fd, name, entry, false);
      return;
    }
    const { deviceMajor, deviceMinor } = entry;
    const isCharacter = entry.type === 'characterDevice';
    // Tars of an overlay's upper directory hold its whiteouts as they are on disk.
    if (isCharacter && deviceMajor === 0 && deviceMinor === 0) {
      this.#hide(parent, name);
      return;
    }
    if (deviceMajor > DEVICE_MAJOR_MAX || deviceMinor > DEVICE_MINOR_MAX) {
      throw refusedArchive(`${readable(entry.unsafeName)} is no device that can be: ${deviceMajor}, ${deviceMinor}`);
    }
    if (++this.#deviceNodes > this.#limits.deviceNodesMax) {
      throw refusedArchive(`more than ${this.#limits.deviceNodesMax} device nodes`);
    }
    const type = isCharacter ? constants.S_IFCHR : constants.S_IFBLK;
    const device = makedev(deviceMajor, deviceMinor);
    this.#inRoom(parent, name, () => mknodat(parent.fd, pathOf(name), type | 0o600, device));
    applyMetadata(parent.fd, name, entry, false);
  }

  /**
   * Links to what an earlier entry made; else notes that a layer below must have it. Owner, mode and times of a link's own
   * header count, as they do for containerd.
   */
  #makeLink(parent: LayerDirectory, name: ByteString, entry: TarEntry): void {
    const path = joinPath(parent.path, name);
    const target = layerPath(entry.unsafeLinkTarget);
    const targetName = baseOf(target);
    const from = this.#tree.find(parentOf(target));
    const status = from && targetName !== '' ? statusOf(from.fd, targetName) : undefined;
    const truePath = from && joinPath(from.path, targetName);
    if (isDirectory(status) || targetName === '')
      throw refusedArchive(`${readable(path)} is a hard link to a directory`);
    if (!from || !truePath || !status || isWhiteout(status)) {
      this.#makePlaceholder(parent, name, target, entry);
    } else if (isPlaceholder(status)) {
      this.#makePlaceholder(parent, name, this.#links.get(truePath)?.target ?? target, entry);
    } else if (truePath !== path) {
      this.#inRoom(parent, name, () => linkInside(from.fd, targetName, parent.fd, name, entry));
      applyMetadata(parent.fd, name, entry, fileType(status) === constants.S_IFLNK);
    }
  }

  #makePlaceholder(parent: LayerDirectory, name: ByteString, target: LayerPath, entry: TarEntry): void {
    const path = joinPath(parent.path, name);
    if (path === target) throw refusedArchive(`${readable(path)} is a hard link to itself`);
    this.#inRoom(parent, name, () => mknodat(parent.fd, pathOf(name), constants.S_IFSOCK, 0n));
    const { mode, uid, gid, modificationNs, xattrs } = entry;
    this.#links.set(path, { path, target, mode, uid, gid, modificationNs, xattrs, targetIsReplaced: false });
  }

  /** A whiteout hides what lower layers have (OCI layer.md), so a file of this layer stays, and a directory turns opaque. */
  #hide(parent: LayerDirectory, name: ByteString): void {
    const status = statusOf(parent.fd, name);
    if (status && isWhiteout(status)) return;
    this.#hiding++;
    if (!status) {
      makeWhiteout(parent.fd, name);
    } else if (isDirectory(status)) {
      const path = joinPath(parent.path, name);
      makeOpaque(this.#tree.directory(path).fd);
      this.#tree.implied.delete(path);
    }
  }

  #hideAll(directory: LayerDirectory): void {
    this.#hiding++;
    if (directory.path === LAYER_ROOT) this.#rootIsOpaque = true;
    else makeOpaque(directory.fd);
  }

  /** Makes an entry; what is in its place goes first. */
  #inRoom<T>(parent: LayerDirectory, name: ByteString, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
    const status = statusOf(parent.fd, name);
    if (isDirectory(status)) removeTree(parent.fd, name);
    else unlinkat(parent.fd, pathOf(name));
    if (isDirectory(status) || (status && fileType(status) === constants.S_IFLNK)) this.#tree.forget();
    return make();
  }
}

/** The kernel's dev_t: 12 and 20 bits. */
const DEVICE_MAJOR_MAX = 0xfff;
const DEVICE_MINOR_MAX = 0xfffff;

export function isPlaceholder(status: FileStatus): boolean {
  return fileType(status) === constants.S_IFSOCK;
}

function withinFileSize(entry: TarEntry, write: () => void): void {
  try {
    write();
  } catch (error) {
    if (errnoOf(error) !== 'EFBIG' && errnoOf(error) !== 'EINVAL') throw error;
    throw refusedArchive(`${readable(entry.unsafeName)} is larger than a file can be: ${entry.sizeBytes} bytes`, error);
  }
}

function linkInside(fromFd: number, target: ByteString, toFd: number, name: ByteString, entry: TarEntry): void {
  try {
    linkat(fromFd, pathOf(target), toFd, pathOf(name));
  } catch (error) {
    const code = errnoOf(error);
    if (code !== 'ENOENT' && code !== 'EMLINK') throw error;
    throw refusedArchive(`the hard link ${readable(entry.unsafeName)} can't be made: ${code}`, error);
  }
}
