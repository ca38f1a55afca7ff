/** A blob sink in memory that remembers how often it was started over. */
import type { BlobSink } from '../../../src/registry/index.ts';

export class MemorySink implements BlobSink {
  #chunks: Uint8Array[] = [];
  #offset = 0;
  restarts = 0;

  constructor(start: Uint8Array = new Uint8Array()) {
    this.#chunks.push(start);
    this.#offset = start.byteLength;
  }

  get offset(): number {
    return this.#offset;
  }

  async append(chunk: Uint8Array): Promise<void> {
    this.#chunks.push(Uint8Array.from(chunk));
    this.#offset += chunk.byteLength;
  }

  async restart(): Promise<void> {
    this.#chunks = [];
    this.#offset = 0;
    this.restarts++;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }
}
