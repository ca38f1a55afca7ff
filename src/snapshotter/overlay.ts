/** The snapshotter over overlayfs: each call of the contract, put together from the parts beside this file. */
import type { Digest } from '../base/digest.ts';
import { CairnError } from '../base/errors.ts';
import { SharedWork } from '../base/locks.ts';
import { series, timed } from '../base/metrics.ts';
import { unmount } from '../linux/index.ts';
import { collectSnapshots, initLayerName, Pins, removeRow } from './collect.ts';
import { SnapshotContext, type SnapshotterOptions } from './context.ts';
import { explainDiskError } from './disk-error.ts';
import type {
  LayerSource,
  MountSpec,
  PrepareOptions,
  SnapshotInfo,
  SnapshotMountOptions,
  Snapshotter,
  StagedLayer,
  Usage,
} from './index.ts';
import { fillInitLayer } from './init-layer.ts';
import { applyMappedMount, findUserNamespaceObstacle } from './mapped-mounting.ts';
import { applyMount, describeMount, planMount } from './mounting.ts';
import { commitActive, prepareSnapshot } from './prepare.ts';
import { reconcileSnapshots } from './reconcile.ts';
import { allSnapshots, childrenOf, findSnapshot, infoOf, needSnapshot } from './rows.ts';
import { commitLayer, stageLayer } from './staged-layer.ts';

/** Opens the snapshots below `rootDirectory`; call `reconcile` before anything else. */
export async function openSnapshotter(options: SnapshotterOptions): Promise<Snapshotter> {
  return new OverlaySnapshotter(await SnapshotContext.open(options));
}

class OverlaySnapshotter implements Snapshotter {
  readonly #context: SnapshotContext;
  readonly #pins = new Pins();
  readonly #initLayers = new SharedWork<string>();
  #obstacle: Promise<string | undefined> | undefined;

  constructor(context: SnapshotContext) {
    this.#context = context;
  }

  prepare(name: string, parent: string | undefined, options: PrepareOptions = {}): Promise<SnapshotInfo> {
    return observed('prepare', () => prepareSnapshot(this.#context, name, parent, options));
  }

  commit(activeName: string, name: string): Promise<SnapshotInfo> {
    return observed('commit', () => commitActive(this.#context, activeName, name));
  }

  stat(name: string): SnapshotInfo | undefined {
    const row = findSnapshot(this.#context.store, name);
    return row && infoOf(row);
  }

  list(): SnapshotInfo[] {
    return allSnapshots(this.#context.store).map(infoOf);
  }

  mounts(name: string): MountSpec {
    return describeMount(planMount(this.#context, needSnapshot(this.#context.store, name)));
  }

  mount(name: string, target: string, { userNamespace }: SnapshotMountOptions = {}): Promise<void> {
    return observed('mount', async () => {
      const plan = planMount(this.#context, needSnapshot(this.#context.store, name));
      if (userNamespace === undefined) await applyMount(plan, name, target);
      else await applyMappedMount(this.#context, plan, name, target, userNamespace);
    });
  }

  userNamespaceObstacle(): Promise<string | undefined> {
    this.#obstacle ??= findUserNamespaceObstacle(this.#context);
    return this.#obstacle;
  }

  unmount(target: string): Promise<void> {
    return observed('unmount', async () => {
      await unmount(target);
    });
  }

  async usage(name: string): Promise<Usage> {
    const row = needSnapshot(this.#context.store, name);
    if (row.usage) return row.usage;
    const path = this.#context.directories.fs(row.id);
    return observed('usage', () => this.#context.trees.run({ kind: 'measure', path }));
  }

  remove(name: string): Promise<void> {
    return observed('remove', async () => {
      using _lock = await this.#context.locks.lock(name);
      const row = findSnapshot(this.#context.store, name);
      if (!row || (await removeRow(this.#context, row))) return;
      const children = childrenOf(this.#context.store, row.id).join(', ');
      const message = `snapshot ${name} is the parent of ${children}`;
      throw new CairnError('FailedPrecondition', message, { step: 'snapshotter.remove' });
    });
  }

  stageLayer(source: LayerSource, signal?: AbortSignal): Promise<StagedLayer> {
    return stageLayer(this.#context, source, signal);
  }

  commitLayer(staged: StagedLayer, chainId: Digest, parent: Digest | undefined): Promise<SnapshotInfo> {
    return observed('commitLayer', () => commitLayer(this.#context, staged, chainId, parent));
  }

  ensureInitLayer(parent: Digest | undefined): Promise<string> {
    const name = initLayerName(parent);
    if (findSnapshot(this.#context.store, name)) return Promise.resolve(name);
    return this.#initLayers.run(name, () => observed('initLayer', () => this.#makeInitLayer(name, parent)));
  }

  pin(names: readonly string[]): Disposable {
    return this.#pins.pin(names);
  }

  collect(used: ReadonlySet<string>): Promise<number> {
    return observed('collect', () => collectSnapshots(this.#context, used, this.#pins));
  }

  reconcile(): Promise<void> {
    return observed('reconcile', () => reconcileSnapshots(this.#context));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#context[Symbol.asyncDispose]();
  }

  async #makeInitLayer(name: string, parentName: Digest | undefined): Promise<string> {
    const context = this.#context;
    using _lock = await context.locks.lock(name);
    if (findSnapshot(context.store, name)) return name;
    const parent = context.parent(parentName);
    const staged = await context.directories.stage();
    try {
      fillInitLayer(staged.fs, context.lowerOf(parent), staged.path);
      const usage = await context.trees.run({ kind: 'measure', path: staged.fs });
      await context.publish(staged, name, parent, usage);
      return name;
    } finally {
      await context.trash.discard(staged.path);
    }
  }
}

/** Times an operation, and says what a failed system call in it means. */
function observed<T>(operation: string, work: () => Promise<T>): Promise<T> {
  return timed(series.snapshot, { operation }, async () => {
    try {
      return await work();
    } catch (error) {
      throw explainDiskError(error);
    }
  });
}
