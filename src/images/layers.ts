/**
 * Layers of an image: each fetched, digested and unpacked in one pass, all at the same time, committed bottom-up.
 *
 * A layer is known by its chain ID. Pulls that need the same chain at once share the work; a blob that two chains have in
 * common is fetched once (the content store's ingest sees to that) and unpacked twice. A chain that has its snapshot only
 * needs its blob, for a later push or save.
 */
import type { Digest } from '../base/digest.ts';
import { digestAlgorithm, shortDigest } from '../base/digest.ts';
import { CairnError, isCairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { JoinedWork } from '../base/joined-work.ts';
import { Semaphore } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { stage } from '../base/stages.ts';
import type { ContentStore } from '../content/index.ts';
import type { Credentials, Descriptor, Reference, RegistryClient } from '../registry/index.ts';
import type { LayerSource, Snapshotter, StagedLayer } from '../snapshotter/index.ts';
import { BlobDownloads } from './blob-download.ts';
import { type LayerState, newLayerState } from './progress.ts';
import { together } from './together.ts';

export interface LayerServices {
  readonly content: ContentStore;
  readonly snapshotter: Snapshotter;
  readonly registry: RegistryClient;
  readonly log: Logger;
  readonly downloadsMax: number;
  readonly unpacksMax: number;
}

/** The layers of one pull, bottom first. */
export interface LayerPlan {
  readonly reference: Reference;
  readonly credentials: Credentials | undefined;
  readonly layers: readonly PlannedLayer[];
}

export interface PlannedLayer {
  readonly blob: Descriptor;
  readonly diffId: Digest;
  readonly chainId: Digest;
  readonly parent: Digest | undefined;
}

export class Layers {
  readonly #content: ContentStore;
  readonly #snapshotter: Snapshotter;
  readonly #log: Logger;
  readonly #downloads: BlobDownloads;
  readonly #unpacks: Semaphore;
  readonly #work = new JoinedWork<LayerState>('images.layer');
  readonly #leaders = new Map<Digest, LayerPlan>();
  readonly #live = new Map<Digest, LayerState>();

  constructor(services: LayerServices) {
    this.#content = services.content;
    this.#snapshotter = services.snapshotter;
    this.#log = services.log;
    this.#downloads = new BlobDownloads(services);
    this.#unpacks = new Semaphore(services.unpacksMax, 'images.wait-unpack');
  }

  /** How far the layer is, while anybody works on it. */
  state(chainId: Digest): LayerState | undefined {
    return this.#live.get(chainId);
  }

  /** Makes sure that snapshot and blob of one layer of `plan`, and everything below it, are there. */
  async ensure(plan: LayerPlan, at: number, signal: AbortSignal): Promise<LayerState> {
    const layer = plannedAt(plan, at);
    for (;;) {
      if (!this.#work.has(layer.chainId)) this.#leaders.set(layer.chainId, plan);
      const leader = this.#leaders.get(layer.chainId);
      try {
        return await this.#work.run(layer.chainId, signal, (own) => this.#make(plan, at, own));
      } catch (error) {
        // Another pull's failure may come from its own credentials or mirror: then it is this pull's turn.
        if (leader === plan || signal.aborted || !isCairnError(error)) throw error;
      }
    }
  }

  async #make(plan: LayerPlan, at: number, signal: AbortSignal): Promise<LayerState> {
    const layer = plannedAt(plan, at);
    const state = newLayerState(layer.blob.digest, layer.blob.sizeBytes);
    this.#live.set(layer.chainId, state);
    try {
      if (this.#snapshotter.stat(layer.chainId)) await this.#completeBlob(plan, layer, state, signal);
      else await this.#makeSnapshot(plan, at, state, signal);
      return state;
    } finally {
      if (this.#live.get(layer.chainId) === state) this.#live.delete(layer.chainId);
      if (this.#leaders.get(layer.chainId) === plan) this.#leaders.delete(layer.chainId);
    }
  }

  /** The snapshot is there: only the blob may be missing. */
  async #completeBlob(plan: LayerPlan, layer: PlannedLayer, state: LayerState, signal: AbortSignal): Promise<void> {
    const { digest } = layer.blob;
    const outcome = await this.#downloads.run(plan, layer.blob, state, signal, async (source, sourceSignal) => {
      state.inHand = true;
      const blob = await this.#content.digestFile(source.path, digestAlgorithm(digest), {
        ...(source.progress && { progress: source.progress }),
        signal: sourceSignal,
      });
      return { blob };
    });
    state.state = outcome === 'present' ? 'present' : 'done';
    state.downloadedBytes = layer.blob.sizeBytes;
  }

  async #makeSnapshot(plan: LayerPlan, at: number, state: LayerState, signal: AbortSignal): Promise<void> {
    const layer = plannedAt(plan, at);
    const controller = new AbortController();
    const either = AbortSignal.any([signal, controller.signal]);
    await using unpacked = new AsyncDisposableStack();
    const parent = layer.parent === undefined ? Promise.resolve() : this.ensure(plan, at - 1, either);
    const staging = this.#stage(plan, layer, state, either).then((staged) => unpacked.use(staged));
    await together(controller, [staging, parent]);
    await failpoint('images.layer.commit');
    await this.#snapshotter.commitLayer(await staging, layer.chainId, layer.parent);
    state.state = 'done';
  }

  async #stage(plan: LayerPlan, layer: PlannedLayer, state: LayerState, signal: AbortSignal): Promise<StagedLayer> {
    for (;;) {
      const outcome = await this.#downloads.run(plan, layer.blob, state, signal, async (source, sourceSignal) => {
        const staged = await this.#unpack(source, layer, state, sourceSignal);
        return { blob: staged.blob, staged };
      });
      const staged = outcome === 'present' ? await this.#unpackPresent(layer, state, signal) : outcome.staged;
      if (staged === undefined) continue;
      if (staged.diffId === layer.diffId) return staged;
      await staged[Symbol.asyncDispose]();
      throw new CairnError(
        'DataLoss',
        `layer ${layer.blob.digest} unpacks to diff ID ${staged.diffId}, the image's config says ${layer.diffId}`,
        { step: 'images.unpack' },
      );
    }
  }

  /** Undefined when the blob on disk is broken: it is gone then, and to be fetched again. */
  async #unpackPresent(layer: PlannedLayer, state: LayerState, signal: AbortSignal): Promise<StagedLayer | undefined> {
    const { digest, sizeBytes } = layer.blob;
    const algorithm = digestAlgorithm(digest);
    const path = this.#content.path(digest);
    state.state = 'unpacking';
    state.downloadedBytes = sizeBytes;
    let failure: unknown;
    try {
      const staged = await this.#unpack({ path, algorithm }, layer, state, signal);
      if (staged.blob.digest === digest) return staged;
      await staged[Symbol.asyncDispose]();
    } catch (error) {
      if (!isCairnError(error, 'DataLoss') && !isCairnError(error, 'InvalidArgument')) throw error;
      failure = error;
    }
    if (failure !== undefined && (await this.#content.digestFile(path, algorithm, { signal })).digest === digest) {
      throw failure;
    }
    this.#log.warn({ digest }, 'a blob is broken on disk: it is fetched again');
    await this.#content.remove(digest);
    return undefined;
  }

  async #unpack(
    source: LayerSource,
    layer: PlannedLayer,
    state: LayerState,
    signal: AbortSignal,
  ): Promise<StagedLayer> {
    using _place = await this.#unpacks.acquire(signal);
    state.inHand = true;
    try {
      const detail = shortDigest(layer.blob.digest);
      return await stage('images.unpack', () => this.#snapshotter.stageLayer(source, signal), { detail });
    } catch (error) {
      if (!isCairnError(error, 'DataLoss') && !isCairnError(error, 'InvalidArgument')) throw error;
      throw new CairnError(error.kind, `layer ${layer.blob.digest}: ${error.message}`, {
        step: error.step ?? 'images.unpack',
        cause: error,
      });
    }
  }
}

function plannedAt(plan: LayerPlan, at: number): PlannedLayer {
  const layer = plan.layers[at];
  if (!layer) throw new RangeError(`layer ${at} of ${plan.layers.length}`);
  return layer;
}
