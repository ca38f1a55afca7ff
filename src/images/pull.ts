/**
 * One pull: resolve -> index -> platform -> manifest -> config -> chain IDs -> layers -> rows.
 *
 * Everything that a step finds or fetches is pinned at once and stays so until the rows that own it are committed.
 */
import { chainIds, type Digest } from '../base/digest.ts';
import { CairnError, isCairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { JoinedWork } from '../base/joined-work.ts';
import type { Logger } from '../base/log.ts';
import { stage } from '../base/stages.ts';
import type { ContentStore } from '../content/index.ts';
import {
  type CallOptions,
  type Credentials,
  type Descriptor,
  formatReference,
  isIndexMediaType,
  type Manifest,
  type Platform,
  parseIndex,
  parseManifest,
  type Reference,
  type RegistryClient,
  selectPlatform,
} from '../registry/index.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import { type ParsedConfig, parseImageConfig } from './config.ts';
import { nameOf } from './find.ts';
import type { LayerProgress } from './index.ts';
import type { LayerPlan, Layers } from './layers.ts';
import { checkUsable } from './media-types.ts';
import { MemorySink } from './memory-sink.ts';
import { type LayerState, newLayerState } from './progress.ts';
import type { Standing } from './progress-watch.ts';
import type { ImageBlob, ImageName, ImageRecords } from './records.ts';
import { together } from './together.ts';

/** Of manifests and indexes that are read back from disk; the registry client has the same limit. */
const MANIFEST_BYTES_MAX = 8 * 1024 * 1024;
/** An index may list indexes (image spec, image-index.md); nobody nests deeper. */
const INDEX_DEPTH_MAX = 3;

export interface PullServices {
  readonly content: ContentStore;
  readonly snapshotter: Snapshotter;
  readonly registry: RegistryClient;
  readonly records: ImageRecords;
  readonly layers: Layers;
  readonly platform: Platform;
  readonly log: Logger;
}

/** A manifest or index in hand, stored under its digest. */
interface Document {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

export class Puller {
  readonly #services: PullServices;
  readonly #configs = new JoinedWork<Buffer>('images.config');

  constructor(services: PullServices) {
    this.#services = services;
  }

  begin(reference: Reference, credentials: Credentials | undefined): Pull {
    return new Pull(this.#services, this.#configs, reference, credentials);
  }
}

/** The state of one pull; its progress can be asked for at any time. */
export class Pull {
  readonly #services: PullServices;
  readonly #configs: JoinedWork<Buffer>;
  readonly #reference: Reference;
  readonly #credentials: Credentials | undefined;
  readonly #label: string;
  readonly #done = new Map<Digest, LayerState>();
  /** The document that the registry is asked for. */
  #asking: string | undefined;
  #answers = 0;
  #plan: LayerPlan | undefined;

  constructor(
    services: PullServices,
    configs: JoinedWork<Buffer>,
    reference: Reference,
    credentials: Credentials | undefined,
  ) {
    this.#services = services;
    this.#configs = configs;
    this.#reference = reference;
    this.#credentials = credentials;
    this.#label = formatReference(reference);
  }

  progress(): readonly LayerProgress[] {
    return this.#states().map(({ inHand: _, ...progress }) => progress);
  }

  /** For the watch over its progress. */
  standing(): Standing {
    const states = this.#states();
    const marks = states.map(({ state, downloadedBytes, inHand }) => `${state}${inHand ? '!' : ''}${downloadedBytes}`);
    const busy = states.some(({ state, inHand }) => state === 'unpacking' && inHand);
    const wanted = busy ? undefined : states.find(({ state }) => state === 'downloading');
    const layer =
      wanted && `layer ${wanted.digest}, of which ${wanted.downloadedBytes} of ${wanted.sizeBytes} bytes came`;
    return { mark: `${this.#answers} ${marks.join(' ')}`, waitingFor: this.#asking ?? layer };
  }

  #states(): LayerState[] {
    const { layers } = this.#services;
    return (this.#plan?.layers ?? []).map(
      ({ chainId, blob }) =>
        this.#done.get(chainId) ?? layers.state(chainId) ?? newLayerState(blob.digest, blob.sizeBytes),
    );
  }

  /** Returns the image's ID. */
  async run(signal: AbortSignal): Promise<Digest> {
    const { content, snapshotter, records } = this.#services;
    using pins = new DisposableStack();
    const keep = (digests: readonly Digest[]) => pins.use(content.pin(digests));

    const documents = await stage('images.resolve', () => this.#resolve(signal, keep));
    const [top] = documents;
    const chosen = documents.at(-1);
    if (!top || !chosen) throw new Error('a pull resolved to nothing');
    const manifest = parseManifest(chosen.bytes, chosen.descriptor.mediaType);
    checkUsable(manifest, this.#label);
    keep([manifest.config.digest, ...manifest.layers.map((layer) => layer.digest)]);
    const config = await stage('images.config', () => this.#config(manifest.config, signal));
    const parsed = parseImageConfig(config, manifest.config.digest);
    if (top === chosen) this.#checkPlatform(parsed, chosen.descriptor);
    const plan = this.#planLayers(manifest, parsed);
    pins.use(snapshotter.pin(plan.layers.map((layer) => layer.chainId)));
    this.#plan = plan;
    await stage('images.layers', () => this.#fetchLayers(plan, signal));

    await failpoint('images.pull.rows');
    const blobs = imageBlobs(documents, manifest);
    const sizes = new Map(blobs.filter((blob) => blob.role !== 'index').map((blob) => [blob.digest, blob.sizeBytes]));
    await records.put(
      {
        id: manifest.config.digest,
        manifestDigest: chosen.descriptor.digest,
        sizeBytes: sizes.values().reduce((sum, size) => sum + size, 0),
        diffIds: parsed.diffIds,
        chainId: plan.layers.at(-1)?.chainId,
        layers: manifest.layers.map(({ digest, sizeBytes, mediaType }) => ({ digest, sizeBytes, mediaType })),
        config: parsed.config,
      },
      blobs,
      this.#names(top.descriptor.digest),
    );
    return manifest.config.digest;
  }

  /** From what the reference names down to the manifest for this platform; all of them stored. */
  async #resolve(signal: AbortSignal, keep: (digests: readonly Digest[]) => void): Promise<Document[]> {
    const documents: Document[] = [];
    const take = async (document: Document) => {
      keep([document.descriptor.digest]);
      await this.#services.content.write(document.bytes, document.descriptor.digest);
      documents.push(document);
      return document;
    };
    const { registry } = this.#services;
    let document = await take(
      await this.#ask('the manifest', () => registry.fetchManifest(this.#reference, this.#call(signal))),
    );
    while (isIndexMediaType(document.descriptor.mediaType)) {
      if (documents.length > INDEX_DEPTH_MAX) {
        throw this.#refuse('FailedPrecondition', `more than ${INDEX_DEPTH_MAX} indexes inside each other`);
      }
      const index = parseIndex(document.bytes, document.descriptor.mediaType);
      const entry = this.#named(() => selectPlatform(index, this.#services.platform));
      keep([entry.digest]);
      document = await take(await this.#child(entry, signal));
    }
    return documents;
  }

  /** What an index lists: from disk where it is already, else from the registry. */
  async #child(entry: Descriptor, signal: AbortSignal): Promise<Document> {
    const { content, registry } = this.#services;
    try {
      return { descriptor: entry, bytes: await content.read(entry.digest, MANIFEST_BYTES_MAX) };
    } catch (error) {
      if (!isCairnError(error, 'NotFound') && !isCairnError(error, 'DataLoss')) throw error;
    }
    const reference = { ...this.#reference, tag: undefined, digest: entry.digest };
    const { bytes } = await this.#ask(`manifest ${entry.digest}`, () =>
      registry.fetchManifest(reference, this.#call(signal)),
    );
    return { descriptor: entry, bytes };
  }

  /** Small, so it is fetched into memory; once for all pulls that want it. */
  async #config(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    const { content, registry } = this.#services;
    const { digest, sizeBytes } = descriptor;
    try {
      return await content.read(digest, sizeBytes);
    } catch (error) {
      if (!isCairnError(error, 'NotFound') && !isCairnError(error, 'DataLoss')) throw error;
    }
    const fetching = this.#configs.run(`${this.#reference.name} ${digest}`, signal, async (own) => {
      const sink = new MemorySink(digest, sizeBytes);
      await registry.fetchBlob(this.#reference, descriptor, sink, this.#call(own));
      const bytes = sink.bytes();
      await content.write(bytes, digest);
      return bytes;
    });
    return await this.#ask(`config ${digest}`, () => fetching);
  }

  async #ask<T>(what: string, work: () => Promise<T>): Promise<T> {
    this.#asking = what;
    try {
      return await work();
    } finally {
      this.#asking = undefined;
      this.#answers++;
    }
  }

  async #fetchLayers(plan: LayerPlan, signal: AbortSignal): Promise<void> {
    const controller = new AbortController();
    const either = AbortSignal.any([signal, controller.signal]);
    const fetching = plan.layers.map(async ({ chainId }, at) => {
      this.#done.set(chainId, await this.#services.layers.ensure(plan, at, either));
    });
    await together(controller, fetching);
  }

  #planLayers(manifest: Manifest, { diffIds }: ParsedConfig): LayerPlan {
    if (diffIds.length !== manifest.layers.length) {
      throw this.#refuse(
        'DataLoss',
        `config ${manifest.config.digest} lists ${diffIds.length} diff IDs for ${manifest.layers.length} layers`,
      );
    }
    const chain = chainIds(diffIds);
    const layers = manifest.layers.flatMap((blob, at) => {
      const [diffId, chainId] = [diffIds[at], chain[at]];
      return diffId && chainId ? [{ blob, diffId, chainId, parent: at > 0 ? chain[at - 1] : undefined }] : [];
    });
    return { reference: this.#reference, credentials: this.#credentials, layers };
  }

  /** An image without an index says only in its config what it is for. */
  #checkPlatform({ config }: ParsedConfig, descriptor: Descriptor): void {
    const { os, architecture, variant } = config;
    if (os === '' && architecture === '') return;
    const platform = { os, architecture, ...(variant !== undefined && { variant }) };
    const index = { mediaType: '', manifests: [{ ...descriptor, platform }], annotations: {} };
    this.#named(() => selectPlatform(index, this.#services.platform));
  }

  #names(digest: Digest): ImageName[] {
    const { name } = this.#reference;
    const byDigest: ImageName = { name: `${name}@${digest}`, kind: 'digest' };
    if (this.#reference.digest !== undefined) return [byDigest];
    return [byDigest, { name: nameOf(this.#reference), kind: 'tag' }];
  }

  #call(signal: AbortSignal): CallOptions {
    return { signal, ...(this.#credentials && { credentials: this.#credentials }) };
  }

  /** Puts the image's name before the message of an expected failure. */
  #named<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw isCairnError(error) ? this.#refuse(error.kind, error.message, error) : error;
    }
  }

  #refuse(kind: CairnError['kind'], why: string, cause?: CairnError): CairnError {
    const step = cause?.step ?? 'images.pull';
    return new CairnError(kind, `${this.#label}: ${why}`, { step, cause });
  }
}

function imageBlobs(documents: readonly Document[], manifest: Manifest): ImageBlob[] {
  const blob = ({ digest, sizeBytes }: Descriptor, role: ImageBlob['role']): ImageBlob => ({ digest, sizeBytes, role });
  return [
    ...documents.map(({ descriptor, bytes }, at) =>
      blob({ ...descriptor, sizeBytes: bytes.length }, at === documents.length - 1 ? 'manifest' : 'index'),
    ),
    blob(manifest.config, 'config'),
    ...manifest.layers.map((layer) => blob(layer, 'layer')),
  ];
}
