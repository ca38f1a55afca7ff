/**
 * A file that one thread writes and others read at the same time: a download that is digested and unpacked on its way in.
 *
 * The writer publishes how far the file reaches; a reader waits until there is more or until the end is known. A restart
 * (the bytes so far were thrown away) and an abort end every reader with an error: whoever follows begins anew.
 */
import { CairnError, throwIfAborted } from './errors.ts';

const STATE = 0;
const SIZE = 1;
const GROWING = 0n;
const COMPLETE = 1n;
const ABANDONED = 2n;

export class GrowingFileWriter {
  readonly shared = new SharedArrayBuffer(2 * BigInt64Array.BYTES_PER_ELEMENT);
  readonly #cells = new BigInt64Array(this.shared);

  /** The first `sizeBytes` bytes are in the file now. */
  publish(sizeBytes: number): void {
    Atomics.store(this.#cells, SIZE, BigInt(sizeBytes));
    Atomics.notify(this.#cells, SIZE);
  }

  /** Nothing will follow. */
  complete(): void {
    this.#end(COMPLETE);
  }

  /** What is there must not be used. */
  abandon(): void {
    this.#end(ABANDONED);
  }

  #end(state: bigint): void {
    Atomics.compareExchange(this.#cells, STATE, GROWING, state);
    Atomics.notify(this.#cells, SIZE);
  }
}

export interface Growth {
  readonly sizeBytes: number;
  readonly complete: boolean;
}

/**
 * Waits until the file is longer than `knownBytes` or complete. Blocks no thread. Throws `Aborted` when the writer
 * abandoned the file, and within 100 ms when `signal` fires.
 */
export async function awaitGrowth(
  shared: SharedArrayBuffer,
  knownBytes: number,
  signal?: AbortSignal,
): Promise<Growth> {
  const cells = new BigInt64Array(shared);
  for (;;) {
    throwIfAborted(signal, 'growing-file.wait');
    const state = Atomics.load(cells, STATE);
    const sizeBytes = Atomics.load(cells, SIZE);
    if (state === ABANDONED) throw new CairnError('Aborted', 'the file was abandoned while it was read');
    if (state === COMPLETE || sizeBytes > BigInt(knownBytes)) {
      return { sizeBytes: Number(sizeBytes), complete: state === COMPLETE };
    }
    // A wake-up between the loads and the wait changes SIZE or is bounded by the timeout (the end changes only STATE).
    const waiting = Atomics.waitAsync(cells, SIZE, sizeBytes, 100);
    if (waiting.async) await waiting.value;
  }
}
