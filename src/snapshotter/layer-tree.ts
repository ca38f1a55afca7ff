/**
 * The directory tree of one layer under way, entered only through descriptors: no path out of an archive is ever handed to
 * the kernel whole, except to `openat2` with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS.
 *
 * A path that goes through a symlink is walked here, element by element, as if the layer were the root (containerd's
 * semantics): an absolute target starts again at the layer's root; a target that climbs above it is refused.
 * Directories that are missing on the way are made, and noted as implied: what they look like is known only when
 * the layers below are.
 */
import { constants } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import {
  AT_FDCWD,
  closeDescriptor,
  type FileStatus,
  fchmodat,
  fchownat,
  mkdirat,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  openat,
  openat2,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  readlinkat,
  statusAt,
  unlinkat,
} from '../linux/index.ts';
import { refusedArchive } from './archive-error.ts';
import { type ByteString, byteString, pathOf, readable } from './byte-string.ts';
import { baseOf, joinPath, LAYER_ROOT, type LayerPath, parentOf } from './layer-path.ts';
import { fileType } from './metadata.ts';
import { isWhiteout, makeOpaque } from './whiteout.ts';

/** An open directory (O_PATH), open until the tree's `release`. */
export interface LayerDirectory {
  readonly fd: number;
  /** Without symlinks. */
  readonly path: LayerPath;
}

const OPEN_MAX = 64;
const ALIASES_MAX = 4096;
/** The kernel's own limit. */
const LINKS_MAX = 40;
const PLAIN = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

export class LayerTree implements Disposable {
  readonly #root: LayerDirectory;
  /** By path, the least recently used first. */
  readonly #open = new Map<LayerPath, LayerDirectory>();
  /** Open, but no longer to be found. */
  readonly #dismissed: number[] = [];
  /** Where a path through symlinks leads. */
  readonly #aliases = new Map<LayerPath, LayerPath>();
  /** Directories that were made on the way to something else. */
  readonly implied = new Set<LayerPath>();
  readonly #onImplied: ((path: LayerPath) => void) | undefined;

  /** `onImplied` is told before an implied directory is made, and may refuse. */
  constructor(directory: string, onImplied?: (path: LayerPath) => void) {
    this.#root = { fd: openat(AT_FDCWD, directory, O_DIRECTORY | O_NOFOLLOW), path: LAYER_ROOT };
    this.#onImplied = onImplied;
  }

  get root(): LayerDirectory {
    return this.#root;
  }

  /** The directory at `path`, made if it is missing. Refuses a path through a file. */
  directory(path: LayerPath): LayerDirectory {
    const found = this.findPlain(path) ?? this.findPlain(this.#walk(path, true));
    if (!found) throw new Error('a walk that makes directories ends in one');
    return found;
  }

  /** The directory at `path`, or undefined. */
  find(path: LayerPath): LayerDirectory | undefined {
    return this.findPlain(path) ?? this.findPlain(this.#walk(path, false));
  }

  /** Where `path` leads through symlinks, whether or not it exists. */
  resolve(path: LayerPath): LayerPath {
    return this.#walk(path, false);
  }

  /** The directory when no symlink is on the way (or it is known where they lead). */
  findPlain(path: LayerPath): LayerDirectory | undefined {
    if (path === LAYER_ROOT) return this.#root;
    const known = this.#open.get(path);
    if (known) {
      this.#open.delete(path);
      this.#open.set(path, known);
      return known;
    }
    const alias = this.#aliases.get(path);
    if (alias !== undefined) return this.findPlain(alias);
    try {
      return this.#keep(path, openat2(this.#root.fd, pathOf(path), { flags: O_PATH | O_DIRECTORY, resolve: PLAIN }));
    } catch (error) {
      const code = errnoOf(error);
      if (code === 'ENOENT' || code === 'ELOOP' || code === 'ENOTDIR') return undefined;
      throw error;
    }
  }

  /** Must follow the removal of a directory or symlink: what was resolved through it may now be elsewhere. */
  forget(): void {
    for (const { fd } of this.#open.values()) this.#dismissed.push(fd);
    this.#open.clear();
    this.#aliases.clear();
  }

  /** Nobody holds a `LayerDirectory` of before now. */
  release(): void {
    for (const fd of this.#dismissed.splice(0)) closeDescriptor(fd);
  }

  [Symbol.dispose](): void {
    this.forget();
    this.release();
    closeDescriptor(this.#root.fd);
  }

  #keep(path: LayerPath, fd: number): LayerDirectory {
    for (const [oldest, { fd: oldestFd }] of this.#open) {
      if (this.#open.size < OPEN_MAX) break;
      this.#open.delete(oldest);
      this.#dismissed.push(oldestFd);
    }
    const directory = { fd, path };
    this.#open.set(path, directory);
    return directory;
  }

  /** From a name that is missing on, the rest of the path is taken as it is written. */
  #walk(path: LayerPath, make: boolean): LayerPath {
    const ahead = path.split('/').reverse() as ByteString[];
    let here = LAYER_ROOT;
    let links = 0;
    for (let name = ahead.pop(); name !== undefined; name = ahead.pop()) {
      if (name === '' || name === '.') continue;
      if (name === '..') {
        if (here === LAYER_ROOT) throw refusedArchive(`${readable(path)} leaves the layer through a symlink`);
        here = parentOf(here);
        continue;
      }
      const parent = this.findPlain(here);
      const target = parent && this.#step(parent, name, make, path);
      if (target === undefined) {
        here = joinPath(here, name);
        continue;
      }
      if (++links > LINKS_MAX) throw refusedArchive(`${readable(path)} goes through too many symlinks`);
      if (target.startsWith('/')) here = LAYER_ROOT;
      ahead.push(...(target.split('/').reverse() as ByteString[]));
    }
    if (links > 0) {
      if (this.#aliases.size >= ALIASES_MAX) this.#aliases.clear();
      this.#aliases.set(path, here);
    }
    return here;
  }

  /** The target when `name` is a symlink. Anything else is a directory after this, if `make` says so. */
  #step(parent: LayerDirectory, name: ByteString, make: boolean, path: LayerPath): ByteString | undefined {
    const status = statusOf(parent.fd, name);
    const type = status && fileType(status);
    if (type === constants.S_IFLNK) return byteString(readlinkat(parent.fd, pathOf(name)));
    if (type === constants.S_IFDIR || !make) return undefined;
    if (status && !isWhiteout(status)) {
      throw refusedArchive(`${readable(path)} goes through ${readable(name)}, which is no directory`);
    }
    this.#makeImplied(parent, name, status !== undefined);
    return undefined;
  }

  /** A directory in the place of a whiteout hides what was below: it is opaque, and has nothing to take from its parent. */
  #makeImplied(parent: LayerDirectory, name: ByteString, overWhiteout: boolean): void {
    const path = joinPath(parent.path, name);
    this.#onImplied?.(path);
    if (overWhiteout) unlinkat(parent.fd, pathOf(name));
    makeDirectory(parent.fd, name);
    if (!overWhiteout) {
      this.implied.add(path);
      return;
    }
    const made = this.findPlain(path);
    if (made) makeOpaque(made.fd);
  }
}

/** A plain directory of root's, whatever the umask and the parent's set-group-ID bit say. */
export function makeDirectory(parentFd: number, name: ByteString): void {
  mkdirat(parentFd, pathOf(name), 0o755);
  fchownat(parentFd, pathOf(name), 0, 0);
  fchmodat(parentFd, pathOf(name), 0o755);
}

/** The status of the entry itself, or undefined when there is none. */
export function statusOf(directoryFd: number, name: ByteString): FileStatus | undefined {
  try {
    return statusAt(directoryFd, pathOf(name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The parent directory and the name of an entry that is known to exist without symlinks; undefined when it does not. */
export function locate(tree: LayerTree, path: LayerPath): { parent: LayerDirectory; name: ByteString } | undefined {
  if (path === LAYER_ROOT) return { parent: tree.root, name: '.' as ByteString };
  const parent = tree.find(parentOf(path));
  return parent && { parent, name: baseOf(path) };
}
