/** A bounded copy of a child's output: what is beyond the limit is read and dropped, so that the child never waits. */
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';

export class BoundedOutput implements Disposable {
  /** Resolves when everything was read: all writers have closed. */
  readonly ended: Promise<void>;
  truncated = false;
  /** Changes with every chunk. */
  receivedBytes = 0;
  readonly #chunks: Buffer[] = [];
  readonly #stream: Readable;
  #room: number;

  constructor(stream: Readable, bytesMax: number) {
    this.#stream = stream;
    this.#room = bytesMax;
    stream.on('data', (chunk: Buffer) => this.#take(chunk));
    this.ended = new Promise((resolve) => stream.on('close', resolve));
  }

  #take(chunk: Buffer): void {
    this.receivedBytes += chunk.length;
    if (chunk.length > this.#room) this.truncated = true;
    if (this.#room === 0) return;
    // A copy: the chunk may be a slice of a much larger slab.
    const kept = Buffer.from(chunk.subarray(0, this.#room));
    this.#chunks.push(kept);
    this.#room -= kept.length;
  }

  bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  [Symbol.dispose](): void {
    this.#stream.destroy();
  }
}

const QUIET_MS = 5;
const LINGER_MS = 500;

/**
 * After the writer has ended: waits for the end of its output, or, where a background child still holds the pipes, until
 * nothing more is in them. What the writer wrote is in the pipe already, so a quiet turn of the event loop is enough.
 */
export async function drained(outputs: readonly BoundedOutput[]): Promise<void> {
  const ended = Promise.all(outputs.map((output) => output.ended)).then(() => true);
  const deadline = performance.now() + LINGER_MS;
  let quietTurns = 0;
  while (quietTurns < 2 && performance.now() < deadline) {
    const before = received(outputs);
    if (await Promise.race([ended, sleep(QUIET_MS, false)])) return;
    quietTurns = received(outputs) === before ? quietTurns + 1 : 0;
  }
}

function received(outputs: readonly BoundedOutput[]): number {
  return outputs.reduce((total, output) => total + output.receivedBytes, 0);
}
