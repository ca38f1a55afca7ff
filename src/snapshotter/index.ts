/**
 * The snapshotter: layered file systems over overlayfs.
 *
 * A snapshot has a name. A committed snapshot is immutable and may be a parent; an active one is writable and has one
 * owner. `prepare` makes an active snapshot on a parent, `commit` freezes it under a new name, `remove` deletes one that
 * has no children. A layer of an image comes in by another way, in parallel with its siblings: `stageLayer` unpacks it
 * into a directory of its own without knowing the parent, `commitLayer` mends what depends on the parent and commits it
 * under its chain ID.
 *
 * On disk: `ROOT/snapshots/N/{fs,work}`; N is the row's number. A row is written last, so a directory without a row is
 * what a crash left, and is removed at start. `staging/` holds layers under way, `trash/` what is being deleted.
 */
import type { Digest } from '../base/digest.ts';

export type SnapshotKind = 'active' | 'view' | 'committed';

export interface SnapshotInfo {
  readonly name: string;
  readonly kind: SnapshotKind;
  readonly parent: string | undefined;
  /** Set for committed snapshots: bytes and inodes on disk, without the parents. */
  readonly usage: Usage | undefined;
  readonly createdAtNs: bigint;
}

export interface Usage {
  readonly sizeBytes: number;
  readonly inodes: number;
}

/** What to mount to see a snapshot, for people and tools; a long chain does not fit one mount(2), `mount` copes with that. */
export interface MountSpec {
  readonly type: 'overlay' | 'bind';
  readonly source: string;
  readonly options: readonly string[];
}

export interface PrepareOptions {
  readonly view?: boolean;
  /** Who owns the root directory in place of user and group 0: for a snapshot that is mounted for a user namespace. */
  readonly rootOwner?: { readonly uid: number; readonly gid: number };
}

/**
 * For a user namespace (a path to one): the layers below appear with its IDs. The writable layer itself is not mapped; what is
 * written in there belongs, on disk, to the IDs that the host gave to the namespace.
 */
export interface SnapshotMountOptions {
  readonly userNamespace?: string | undefined;
}

export interface LayerSource {
  /** A tar, gzip or zstd file: a blob, or an ingest that still grows (then `progress`, see base/growing-file.ts). */
  readonly path: string;
  readonly progress?: SharedArrayBuffer;
  /** What digest to compute over the file itself. */
  readonly algorithm: 'sha256' | 'sha512';
}

/** A layer that was unpacked but is not part of any chain yet. Disposing it without committing removes it. */
export interface StagedLayer extends AsyncDisposable {
  readonly id: string;
  /** Digest and size of the source file, computed while it was read. */
  readonly blob: { readonly digest: Digest; readonly sizeBytes: number };
  /** Digest of the uncompressed tar. */
  readonly diffId: Digest;
  readonly usage: Usage;
}

/** Disposing ends its threads, once what is under way is done; mounts stay. */
export interface Snapshotter extends AsyncDisposable {
  /** An active (or read-only `view`) snapshot on a committed parent (none: empty). AlreadyExists, NotFound. */
  prepare(name: string, parent: string | undefined, options?: PrepareOptions): Promise<SnapshotInfo>;
  /** Freezes an active snapshot under `name`. Its directories are synced before the row says so. */
  commit(activeName: string, name: string): Promise<SnapshotInfo>;
  /** Undefined when there is none. */
  stat(name: string): SnapshotInfo | undefined;
  list(): SnapshotInfo[];
  /** What `mount` would mount. */
  mounts(name: string): MountSpec;
  /** Mounts the snapshot at `target` (an existing directory). 128 layers must mount. */
  mount(name: string, target: string, options?: SnapshotMountOptions): Promise<void>;
  /** Why this host can't mount layers for a user namespace; undefined when it can. Tried once. */
  userNamespaceObstacle(): Promise<string | undefined>;
  /** Unmounts `target`; no error when nothing is mounted there. */
  unmount(target: string): Promise<void>;
  /** Bytes and inodes of this snapshot alone, measured in a worker for an active one. */
  usage(name: string): Promise<Usage>;
  /** FailedPrecondition naming the children when it has any; no error when it does not exist. */
  remove(name: string): Promise<void>;
  /**
   * Unpacks a layer archive, digesting both forms in the same pass. A hostile archive (escape, device bomb, size lie) is
   * InvalidArgument, a broken one DataLoss; both leave nothing.
   */
  stageLayer(source: LayerSource, signal?: AbortSignal): Promise<StagedLayer>;
  /** Makes a staged layer the committed snapshot `chainId` on `parent`. When that exists already the staged one is dropped. */
  commitLayer(staged: StagedLayer, chainId: Digest, parent: Digest | undefined): Promise<SnapshotInfo>;
  /**
   * The committed init layer on `parent`: the mount points that every container needs, so that they never show up in a
   * container's own layer. Made once per parent and ID mapping, then found again.
   */
  ensureInitLayer(parent: Digest | undefined): Promise<string>;
  /** Keeps these committed snapshots from `collect` until disposed. */
  pin(names: readonly string[]): Disposable;
  /** Removes committed snapshots that are not pinned, not in `used` and have no child left; and their init layers. */
  collect(used: ReadonlySet<string>): Promise<number>;
  /** At start: removes directories without a row and staging leftovers. */
  reconcile(): Promise<void>;
}

export type { SnapshotterOptions } from './context.ts';
export { openSnapshotter } from './overlay.ts';
export type { UnpackLimits } from './unpack-limits.ts';
