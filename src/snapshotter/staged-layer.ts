/** A layer from its archive to its place in a chain. */
import type { Digest } from '../base/digest.ts';
import { CairnError, isCairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { series, timed } from '../base/metrics.ts';
import type { SnapshotContext } from './context.ts';
import type { StagingDirectory } from './directories.ts';
import type { LayerSource, SnapshotInfo, StagedLayer, Usage } from './index.ts';
import { copyRootOf } from './init-layer.ts';
import { lacksOnlyRoot, needsMending } from './mend-layer.ts';
import { findSnapshot, infoOf, type SnapshotRow } from './rows.ts';
import type { StageResult } from './stage-layer.ts';

/** What `stageLayer` hands out. */
class UnpackedLayer implements StagedLayer {
  readonly id: string;
  readonly blob: StageResult['blob'];
  readonly diffId: Digest;
  readonly usage: Usage;
  readonly notes: StageResult['notes'];
  readonly directory: StagingDirectory;
  readonly #context: SnapshotContext;
  #consumed = false;

  constructor(context: SnapshotContext, directory: StagingDirectory, result: StageResult) {
    this.#context = context;
    this.directory = directory;
    this.id = directory.id;
    this.blob = result.blob;
    this.diffId = result.diffId;
    this.usage = result.usage;
    this.notes = result.notes;
  }

  /** From here on nobody else may use what was staged. */
  consume(): void {
    if (this.#consumed) throw new Error('a staged layer was committed or disposed of twice');
    this.#consumed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#consumed) return;
    this.#consumed = true;
    await this.#context.trash.discard(this.directory.path);
  }
}

export async function stageLayer(
  context: SnapshotContext,
  source: LayerSource,
  signal: AbortSignal | undefined,
): Promise<StagedLayer> {
  return timed<never, StagedLayer>(series.layerUnpack, {}, async () => {
    const directory = await context.directories.stage();
    try {
      await failpoint('snapshotter.stage.unpack');
      const job = { directory: directory.fs, source, limits: context.limits };
      const result = await context.layers.run(job, signal);
      await failpoint('snapshotter.stage.done');
      return new UnpackedLayer(context, directory, result);
    } catch (error) {
      await context.trash.discard(directory.path);
      await context.trash.emptied();
      throw error;
    }
  });
}

export async function commitLayer(
  context: SnapshotContext,
  layer: StagedLayer,
  chainId: Digest,
  parentId: Digest | undefined,
): Promise<SnapshotInfo> {
  if (!(layer instanceof UnpackedLayer)) throw new Error('a staged layer comes from stageLayer');
  layer.consume();
  try {
    using _lock = await context.locks.lock(chainId);
    const existing = findSnapshot(context.store, chainId);
    if (existing) return infoOf(existing);
    const parent = context.parent(parentId);
    const usage = await mend(context, layer, parent);
    return await context.publish(layer.directory, chainId, parent, usage);
  } finally {
    await context.trash.discard(layer.directory.path);
  }
}

async function mend(context: SnapshotContext, layer: UnpackedLayer, parent: SnapshotRow | undefined): Promise<Usage> {
  const { directory, notes, usage } = layer;
  if (!needsMending(notes, parent !== undefined)) return usage;
  if (parent !== undefined && lacksOnlyRoot(notes)) {
    // The usual case, in a few system calls: every committed snapshot has a root that was settled before.
    copyRootOf(context.directories.fs(parent.id), directory.fs);
    return usage;
  }
  await failpoint('snapshotter.mend');
  try {
    const lower = context.lowerOf(parent);
    return await context.trees.run({ kind: 'mend', directory: directory.fs, scratch: directory.path, lower, notes });
  } catch (error) {
    if (!isCairnError(error) || parent === undefined) throw error;
    throw new CairnError(error.kind, `${error.message} (on ${parent.name})`, {
      step: 'snapshotter.mend',
      cause: error,
    });
  }
}
