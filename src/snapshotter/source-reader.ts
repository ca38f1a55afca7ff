/** Reads a layer's file from start to end and digests it on the way, following it while it is still being downloaded. */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { Digest } from '../base/digest.ts';
import { abortError, throwIfAborted } from '../base/errors.ts';
import { awaitGrowth } from '../base/growing-file.ts';
import { brokenArchive } from './archive-error.ts';
import type { LayerSource } from './index.ts';

const CHUNK_BYTES = 1024 * 1024;
const STEP = 'snapshotter.unpack';

export class SourceReader implements AsyncDisposable {
  readonly #source: LayerSource;
  readonly #file: FileHandle;
  readonly #hash: Hash;
  readonly #signal: AbortSignal;
  #offset = 0;
  /** How far the file is known to reach, and whether it ends there. */
  #known: { readonly sizeBytes: number; readonly complete: boolean } = { sizeBytes: 0, complete: false };

  private constructor(source: LayerSource, file: FileHandle, signal: AbortSignal) {
    this.#source = source;
    this.#file = file;
    this.#signal = signal;
    this.#hash = createHash(source.algorithm);
  }

  static async open(source: LayerSource, signal: AbortSignal): Promise<SourceReader> {
    return new SourceReader(source, await open(source.path, 'r'), signal);
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  /** The next piece, never empty; undefined at the end. */
  async next(): Promise<Buffer | undefined> {
    throwIfAborted(this.#signal, STEP);
    await this.#awaitBytes();
    const leftBytes = this.#known.sizeBytes - this.#offset;
    if (leftBytes === 0) return undefined;
    const buffer = Buffer.allocUnsafeSlow(Math.min(leftBytes, CHUNK_BYTES));
    const { bytesRead } = await this.#file.read(buffer, 0, buffer.length, this.#offset);
    if (bytesRead === 0) throw brokenArchive(`the file ends at byte ${this.#offset} of ${this.#known.sizeBytes}`);
    const chunk = buffer.subarray(0, bytesRead);
    this.#offset += bytesRead;
    this.#hash.update(chunk);
    return chunk;
  }

  /** Reads what is left, only to digest it. */
  async drain(): Promise<void> {
    while ((await this.next()) !== undefined);
  }

  /** Of all that was read. Once only. */
  digest(): Digest {
    return `${this.#source.algorithm}:${this.#hash.digest('hex')}` as Digest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #awaitBytes(): Promise<void> {
    if (this.#known.complete || this.#known.sizeBytes > this.#offset) return;
    const { progress } = this.#source;
    this.#known = progress
      ? await this.#orAborted(awaitGrowth(progress, this.#offset))
      : { sizeBytes: (await this.#file.stat()).size, complete: true };
  }

  async #orAborted<T>(work: Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = () => reject(abortError(this.#signal, STEP));
    this.#signal.addEventListener('abort', onAbort, { once: true });
    try {
      return await Promise.race([work, promise]);
    } finally {
      this.#signal.removeEventListener('abort', onAbort);
    }
  }
}
