/** What the parts of the snapshotter share. */
import { availableParallelism } from 'node:os';
import type { Digest } from '../base/digest.ts';
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { KeyedMutex } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { series } from '../base/metrics.ts';
import { createWorkerPool, type WorkerPool } from '../base/worker-pool.ts';
import { workerUrl } from '../base/worker-url.ts';
import type { Store } from '../store/index.ts';
import { SnapshotDirectories, type StagingDirectory } from './directories.ts';
import type { SnapshotInfo, Usage } from './index.ts';
import {
  chainOf,
  countByKind,
  infoOf,
  insertSnapshot,
  lastId,
  mustNotExist,
  needSnapshot,
  type SnapshotRow,
} from './rows.ts';
import type { StageJob, StageResult } from './stage-layer.ts';
import { SyncGate } from './sync-gate.ts';
import { Trash } from './trash.ts';
import type { TreeJob } from './tree-job.ts';
import { UNPACK_LIMITS, type UnpackLimits } from './unpack-limits.ts';

export interface SnapshotterOptions {
  /** The daemon's root: snapshots lie below `snapshots/`. */
  readonly rootDirectory: string;
  readonly store: Store;
  readonly log: Logger;
  /** Replaces some of the default bounds on a layer. */
  readonly unpackLimits?: Partial<UnpackLimits>;
}

/** Layers unpacked at a time: each has its thread. The image service decides how many it asks for. */
const UNPACKS_MAX = 8;
/** A worker's heap: names of a hostile layer's entries could fill any. */
const WORKER_HEAP_MEGABYTES_MAX = 1024;

export class SnapshotContext implements AsyncDisposable {
  readonly store: Store;
  readonly log: Logger;
  readonly directories: SnapshotDirectories;
  readonly trash: Trash;
  readonly sync: SyncGate;
  /** By snapshot name. */
  readonly locks = new KeyedMutex();
  readonly limits: UnpackLimits;
  readonly layers: WorkerPool<StageJob, StageResult>;
  readonly trees: WorkerPool<TreeJob, Usage>;
  #lastId: number;

  private constructor(options: SnapshotterOptions, directories: SnapshotDirectories, lastDirectoryId: number) {
    this.store = options.store;
    this.log = options.log.child({ module: 'snapshotter' });
    this.directories = directories;
    this.limits = { ...UNPACK_LIMITS, ...options.unpackLimits };
    const resourceLimits = { maxOldGenerationSizeMb: WORKER_HEAP_MEGABYTES_MAX };
    this.layers = createWorkerPool({
      name: 'unpack',
      url: workerUrl('./layer-worker', import.meta.url),
      workersMax: Math.min(UNPACKS_MAX, Math.max(2, availableParallelism())),
      resourceLimits,
    });
    this.trees = createWorkerPool({
      name: 'snapshot trees',
      url: workerUrl('./tree-worker', import.meta.url),
      workersMax: 2,
      resourceLimits,
    });
    this.sync = new SyncGate(directories.root);
    const remove = async (path: string) => void (await this.trees.run({ kind: 'remove', path }));
    this.trash = new Trash({ directory: directories.trash, remove, log: this.log });
    // A directory that a crash left without a row keeps its number to itself.
    this.#lastId = Math.max(lastId(options.store), lastDirectoryId);
  }

  static async open(options: SnapshotterOptions): Promise<SnapshotContext> {
    const directories = new SnapshotDirectories(options.rootDirectory);
    await directories.make();
    const context = new SnapshotContext(options, directories, Math.max(0, ...(await directories.ids())));
    context.countSnapshots();
    return context;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Unpacking that is cut off here throws its directory away, which the trees' threads then delete.
    await this.layers[Symbol.asyncDispose]();
    await this.trash.emptied();
    await this.trees[Symbol.asyncDispose]();
  }

  nextId(): number {
    return ++this.#lastId;
  }

  /** The directories that are mounted below a child of this snapshot, top first. */
  lowerOf(row: SnapshotRow | undefined): string[] {
    return row ? chainOf(this.store, row.id).map((id) => this.directories.fs(id)) : [];
  }

  /** The committed snapshot that is to be a parent. */
  parent(name: string | undefined): SnapshotRow | undefined {
    if (name === undefined) return undefined;
    const row = needSnapshot(this.store, name);
    if (row.kind === 'committed') return row;
    throw new CairnError('FailedPrecondition', `snapshot ${name} is ${row.kind}: only a committed one can be a parent`);
  }

  /** Gives a finished tree its place, makes it durable and says so: the caller holds the lock of `name`. */
  async publish(
    staged: StagingDirectory,
    name: string | Digest,
    parent: SnapshotRow | undefined,
    usage: Usage,
  ): Promise<SnapshotInfo> {
    const id = this.nextId();
    try {
      await failpoint('snapshotter.publish.rename');
      await this.directories.settle(staged, id);
      await failpoint('snapshotter.publish.sync');
      await this.sync.sync();
      await failpoint('snapshotter.publish.row');
      return await this.insert({ id, name, kind: 'committed', usage }, parent);
    } catch (error) {
      await this.trash.discard(this.directories.of(id));
      throw error;
    }
  }

  /** The last step of every creation. The parent may have gone since it was looked up. */
  async insert(
    row: Pick<SnapshotRow, 'id' | 'name' | 'kind' | 'usage'>,
    parent: SnapshotRow | undefined,
  ): Promise<SnapshotInfo> {
    const createdAtNs = BigInt(Date.now()) * 1_000_000n;
    await this.store.transaction((tx) => {
      if (parent) needSnapshot(tx, parent.name);
      mustNotExist(tx, row.name);
      insertSnapshot(tx, { ...row, parentId: parent?.id, createdAtNs });
    });
    this.countSnapshots();
    return infoOf(needSnapshot(this.store, row.name));
  }

  countSnapshots(): void {
    const counts = countByKind(this.store);
    for (const kind of ['active', 'view', 'committed']) series.snapshots.set({ kind }, counts.get(kind) ?? 0);
  }
}
