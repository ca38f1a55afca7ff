/**
 * The content store: blobs by digest.
 *
 * A blob is immutable and visible only under its verified digest (`ROOT/content/blobs/ALGORITHM/HEX`). It comes in
 * through an ingest: bytes are appended to `ROOT/content/ingest/ALGORITHM-HEX`, which outlives a crash so that a
 * download can resume, and `commit` publishes them (fsync, rename, fsync directory) when digest and size are right.
 * One ingest per digest at a time: a second caller waits, and then usually finds the blob present. A blob has no row:
 * an image's rows say which blobs are in use, and `ingest`/`pin` keep a blob that is not in a row yet.
 */
import type { Digest } from '../base/digest.ts';
import type { Logger } from '../base/log.ts';

export interface BlobInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

/** One blob on its way in. Disposing without `commit` keeps the bytes for a later resume; `discard` throws them away. */
export interface Ingest extends AsyncDisposable {
  readonly digest: Digest;
  /** The growing file. A reader may follow it up to `progress`. */
  readonly path: string;
  /** Bytes already there (or queued to be written): where a resumed download goes on. */
  readonly offset: number;
  /**
   * Shared with the worker that digests (and unpacks) while the download runs: see `base/growing-file.ts`. `restart`
   * replaces it.
   */
  readonly progress: SharedArrayBuffer;
  /** Takes `chunk` over and waits only when much is queued. DataLoss as soon as the blob is larger than it should be. */
  append(chunk: Uint8Array): Promise<void>;
  /** Throws away what is there and starts at offset 0 (the server ignored the range, or what was there is wrong). */
  restart(): Promise<void>;
  /** No more bytes will come: writes what is queued and wakes the followers. */
  end(): Promise<void>;
  /** Publishes the blob. `actual` is what a worker computed over the whole file; anything else than `digest` is DataLoss and discards. */
  commit(actual: BlobInfo): Promise<BlobInfo>;
  discard(): Promise<void>;
}

export interface ContentStoreOptions {
  /** The daemon's root; the store lives in its directory `content`. */
  readonly rootDirectory: string;
  readonly log: Logger;
}

export interface IngestRequest {
  /** The size that the blob must have, where it is known. */
  readonly sizeBytes?: number;
  readonly signal?: AbortSignal;
}

/** Disposing ends its worker threads. */
export interface ContentStore extends AsyncDisposable {
  /** The blob, or undefined. */
  stat(digest: Digest): Promise<BlobInfo | undefined>;
  /** Where the blob's file is. It exists only if `stat` found it. */
  path(digest: Digest): string;
  /** The bytes of a small blob (manifest, config), verified again while read. NotFound, or DataLoss naming the digest. */
  read(digest: Digest, sizeBytesMax: number): Promise<Buffer>;
  /** Stores a small value under its digest, durably. DataLoss when `expected` is given and differs. */
  write(data: Uint8Array, expected?: Digest): Promise<BlobInfo>;
  /** Starts (or resumes) an ingest; waits for another one of the same digest; undefined when the blob is present by then. */
  ingest(digest: Digest, request?: IngestRequest): Promise<Ingest | undefined>;
  /** Digests a whole file in a worker thread, following it while it grows when `progress` is given. */
  digestFile(
    path: string,
    algorithm: 'sha256' | 'sha512',
    options?: { progress?: SharedArrayBuffer; signal?: AbortSignal },
  ): Promise<BlobInfo>;
  /** Keeps these blobs from garbage collection until disposed. */
  pin(digests: readonly Digest[]): Disposable;
  /** Removes one blob that turned out to be broken; no error when there is none. */
  remove(digest: Digest): Promise<void>;
  /**
   * Removes blobs (and abandoned ingests older than a day) that are neither pinned nor in `used`. Returns bytes freed.
   * `used` is asked right before each removal, so a live set counts as it is then.
   */
  collect(used: ReadonlySet<Digest>): Promise<number>;
  list(): AsyncIterable<BlobInfo>;
}

export { openContentStore } from './store.ts';
