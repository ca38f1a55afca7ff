/** Collects a small blob in memory, never more than was promised. */
import type { Digest } from '../base/digest.ts';
import { CairnError } from '../base/errors.ts';
import type { BlobSink } from '../registry/index.ts';

export class MemorySink implements BlobSink {
  readonly #digest: Digest;
  readonly #sizeBytes: number;
  #chunks: Uint8Array[] = [];
  #offset = 0;

  constructor(digest: Digest, sizeBytes: number) {
    this.#digest = digest;
    this.#sizeBytes = sizeBytes;
  }

  get offset(): number {
    return this.#offset;
  }

  async append(chunk: Uint8Array): Promise<void> {
    this.#offset += chunk.byteLength;
    if (this.#offset > this.#sizeBytes) {
      throw new CairnError(
        'DataLoss',
        `${this.#digest} is larger than the ${this.#sizeBytes} bytes that its descriptor states`,
        { step: 'images.fetch' },
      );
    }
    this.#chunks.push(chunk);
  }

  async restart(): Promise<void> {
    this.#chunks = [];
    this.#offset = 0;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}
