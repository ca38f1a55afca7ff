/** What a chunk costs beside its bytes: single bytes must be bounded as well. */
const CHUNK_OVERHEAD_BYTES = 256;

/** Chunks from a producer that must never wait to one consumer, within a limit that several queues may share. */
export class ChunkQueue implements AsyncIterableIterator<Buffer> {
  readonly #chunks: Buffer[] = [];
  /** Shared: what the queues together may still take. */
  readonly #room: { bytes: number };
  #ended = false;
  #error: unknown;
  #waiting: (() => void) | undefined;
  #abandoned = false;

  constructor(room: { bytes: number }) {
    this.#room = room;
  }

  /** False when there is no room for it: it was not taken. */
  push(chunk: Buffer): boolean {
    if (this.#ended || this.#abandoned) return true;
    const cost = chunk.length + CHUNK_OVERHEAD_BYTES;
    if (cost > this.#room.bytes) return false;
    this.#room.bytes -= cost;
    this.#chunks.push(chunk);
    this.#wake();
    return true;
  }

  /** Nothing will follow; the consumer gets what there is, then the error, if any. */
  end(error?: unknown): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#wake();
  }

  /** What comes from now on is thrown away. */
  abandon(): void {
    this.#abandoned = true;
    for (const chunk of this.#chunks.splice(0)) this.#free(chunk);
  }

  async next(): Promise<IteratorResult<Buffer, undefined>> {
    for (;;) {
      const chunk = this.#chunks.shift();
      if (chunk !== undefined) {
        this.#free(chunk);
        return { done: false, value: chunk };
      }
      if (this.#ended) {
        const error = this.#error;
        this.#error = undefined;
        if (error !== undefined) throw error;
        return { done: true, value: undefined };
      }
      await new Promise<void>((resolve) => {
        this.#waiting = resolve;
      });
    }
  }

  async return(): Promise<IteratorResult<Buffer, undefined>> {
    this.abandon();
    return { done: true, value: undefined };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #free(chunk: Buffer): void {
    this.#room.bytes += chunk.length + CHUNK_OVERHEAD_BYTES;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }
}
