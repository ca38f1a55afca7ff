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

export interface BlobInfo {
  readonly digest: Digest;
  readonly sizeBytes: number;
}

/** One blob on its way in. Disposing without `commit` keeps the bytes for a later resume; `discard` throws them away. */
export interface Ingest extends AsyncDisposable {
  readonly digest: Digest;
  /** The growing file. A reader may follow it up to `progress`. */
  readonly path: string;
  /** Bytes already there: where a resumed download goes on. */
  readonly offset: number;
  /**
   * Shared with the worker that digests (and unpacks) while the download runs: see `base/growing-file.ts`.
   */
  readonly progress: SharedArrayBuffer;
  append(chunk: Uint8Array): Promise<void>;
  /** Throws away what is there and starts at offset 0 (the server ignored the range, or what was there is wrong). */
  restart(): Promise<void>;
  /** No more bytes will come: wakes the followers. */
  end(): void;
  /** Publishes the blob. `actual` is what a worker computed over the whole file; anything else than `digest` is DataLoss and discards. */
  commit(actual: BlobInfo): Promise<BlobInfo>;
  discard(): Promise<void>;
}

export interface ContentStore {
  /** The blob, or undefined. */
  stat(digest: Digest): Promise<BlobInfo | undefined>;
  /** Where the blob's file is. It exists only if `stat` found it. */
  path(digest: Digest): string;
  /** The bytes of a small blob (manifest, config), verified again while read. NotFound, or DataLoss naming the digest. */
  read(digest: Digest, sizeBytesMax: number): Promise<Buffer>;
  /** Stores a small value under its digest, durably. DataLoss when `expected` is given and differs. */
  write(data: Uint8Array, expected?: Digest): Promise<BlobInfo>;
  /** Starts (or resumes) an ingest; waits for another one of the same digest; undefined when the blob is present by then. */
  ingest(digest: Digest, signal?: AbortSignal): Promise<Ingest | undefined>;
  /** Digests a whole file in a worker thread, following it while it grows when `progress` is given. */
  digestFile(
    path: string,
    algorithm: 'sha256' | 'sha512',
    options: { progress?: SharedArrayBuffer; signal?: AbortSignal },
  ): Promise<BlobInfo>;
  /** Keeps these blobs from garbage collection until disposed. */
  pin(digests: readonly Digest[]): Disposable;
  /** Removes blobs (and abandoned ingests older than a day) that are neither pinned nor in `used`. Returns bytes freed. */
  collect(used: ReadonlySet<Digest>): Promise<number>;
  list(): AsyncIterable<BlobInfo>;
}

export { openContentStore } from './store.ts';
