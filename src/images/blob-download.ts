/**
 * One layer blob from a registry into the content store, read by a follower while it comes in.
 *
 * The follower (unpack and digest, or digest alone) gives the digest that decides whether the blob is published. What
 * came so far is kept for a resume when the network or the registry failed, and thrown away when the bytes were wrong or
 * nobody wants them any more.
 */
import { digestAlgorithm, shortDigest } from '../base/digest.ts';
import { CairnError, type ErrorKind, isCairnError } from '../base/errors.ts';
import { Semaphore } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { stage } from '../base/stages.ts';
import type { BlobInfo, ContentStore, Ingest } from '../content/index.ts';
import {
  type BlobSink,
  type Credentials,
  type Descriptor,
  formatReference,
  type Reference,
  type RegistryClient,
} from '../registry/index.ts';
import type { LayerSource, StagedLayer } from '../snapshotter/index.ts';
import type { LayerState } from './progress.ts';
import { together } from './together.ts';

/** What remains to be fetched may still be had later. */
const RESUMABLE: readonly ErrorKind[] = [
  'Unknown',
  'Unavailable',
  'DeadlineExceeded',
  'NotFound',
  'Unauthenticated',
  'PermissionDenied',
];

export interface BlobOrigin {
  readonly reference: Reference;
  readonly credentials: Credentials | undefined;
}

export interface Followed {
  readonly blob: BlobInfo;
  readonly staged?: StagedLayer;
}

/** Reads a growing file to its end. Called again when the download had to begin anew. */
export type Follow<F extends Followed> = (source: LayerSource, signal: AbortSignal) => Promise<F>;

export class BlobDownloads {
  readonly #content: ContentStore;
  readonly #registry: RegistryClient;
  readonly #places: Semaphore;
  readonly #log: Logger;

  constructor(services: { content: ContentStore; registry: RegistryClient; log: Logger; downloadsMax: number }) {
    this.#log = services.log;
    this.#content = services.content;
    this.#registry = services.registry;
    this.#places = new Semaphore(services.downloadsMax, 'images.wait-download');
  }

  /** Fetches the blob unless it is there. DataLoss naming the digest when what comes is not what was promised. */
  async run<F extends Followed>(
    origin: BlobOrigin,
    blob: Descriptor,
    state: LayerState,
    signal: AbortSignal,
    follow: Follow<F>,
  ): Promise<F | 'present'> {
    for (;;) {
      const present = await this.#content.stat(blob.digest);
      if (present?.sizeBytes === blob.sizeBytes) return 'present';
      if (present) await this.#settleSize(present, blob, signal);
      await using ingest = await this.#content.ingest(blob.digest, { sizeBytes: blob.sizeBytes, signal });
      if (!ingest) continue;
      const resumed = ingest.offset > 0;
      try {
        return await this.#fetch(origin, blob, ingest, state, signal, follow);
      } catch (error) {
        const keep = isCairnError(error) && RESUMABLE.includes(error.kind);
        if (!keep) await ingest.discard();
        // What an earlier attempt left may be at fault (a power cut can spoil it): once more, from the beginning.
        const badBytes = isCairnError(error, 'DataLoss') || isCairnError(error, 'InvalidArgument');
        if (!resumed || !badBytes || signal.aborted) throw error;
      }
    }
  }

  /** Either the manifest or the disk is wrong about the size: the digest decides. A broken blob is removed. */
  async #settleSize(present: BlobInfo, blob: Descriptor, signal: AbortSignal): Promise<void> {
    const { digest, sizeBytes } = blob;
    const actual = await this.#content.digestFile(this.#content.path(digest), digestAlgorithm(digest), { signal });
    if (actual.digest === digest) {
      const message = `${digest} has ${present.sizeBytes} bytes, the image's manifest says ${sizeBytes}`;
      throw new CairnError('DataLoss', message, { step: 'images.fetch' });
    }
    this.#log.warn({ digest }, 'a blob is broken on disk: it is fetched again');
    await this.#content.remove(digest);
  }

  async #fetch<F extends Followed>(
    origin: BlobOrigin,
    blob: Descriptor,
    ingest: Ingest,
    state: LayerState,
    signal: AbortSignal,
    follow: Follow<F>,
  ): Promise<F> {
    const controller = new AbortController();
    const either = AbortSignal.any([signal, controller.signal]);
    const servers = new Set<string>();
    const filling = this.#fill(origin, blob, ingest, state, servers, either);
    const following = followAnew(ingest, either, follow);
    try {
      await together(controller, [filling, following]);
      const followed = await following;
      await ingest.commit(followed.blob);
      return followed;
    } catch (error) {
      const followed = await following.catch(() => undefined);
      await followed?.staged?.[Symbol.asyncDispose]();
      throw servers.size > 0 ? sayServers(error, origin.reference, servers) : error;
    }
  }

  async #fill(
    origin: BlobOrigin,
    blob: Descriptor,
    ingest: Ingest,
    state: LayerState,
    servers: Set<string>,
    signal: AbortSignal,
  ): Promise<void> {
    if (ingest.offset < blob.sizeBytes) {
      using _place = await this.#places.acquire(signal);
      const { reference, credentials } = origin;
      state.state = 'downloading';
      const sink = countingSink(ingest, state, servers);
      const call = { signal, ...(credentials && { credentials }) };
      const detail = shortDigest(blob.digest);
      await stage('images.download', () => this.#registry.fetchBlob(reference, blob, sink, call), { detail });
    }
    await ingest.end();
    state.downloadedBytes = ingest.offset;
    state.state = 'unpacking';
  }
}

/** Who is to blame for bytes that are wrong: the image that wanted them, and the addresses that they came from. */
function sayServers(error: unknown, reference: Reference, servers: ReadonlySet<string>): unknown {
  if (!isCairnError(error, 'DataLoss') && !isCairnError(error, 'InvalidArgument')) return error;
  const message = `${formatReference(reference)}: ${error.message} (it came from ${[...servers].join(', ')})`;
  return new CairnError(error.kind, message, { step: error.step ?? 'images.fetch', cause: error });
}

async function followAnew<F extends Followed>(ingest: Ingest, signal: AbortSignal, follow: Follow<F>): Promise<F> {
  for (;;) {
    const { progress } = ingest;
    try {
      return await follow({ path: ingest.path, progress, algorithm: digestAlgorithm(ingest.digest) }, signal);
    } catch (error) {
      if (ingest.progress === progress || signal.aborted) throw error;
    }
  }
}

function countingSink(ingest: Ingest, state: LayerState, servers: Set<string>): BlobSink {
  return {
    opened: (address) => servers.add(address),
    get offset() {
      return ingest.offset;
    },
    async append(chunk) {
      await ingest.append(chunk);
      state.downloadedBytes = ingest.offset;
    },
    async restart() {
      await ingest.restart();
      state.downloadedBytes = 0;
    },
  };
}
