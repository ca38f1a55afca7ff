/**
 * The sizes of containers' own layers. Measuring one walks its tree in a worker, so a size is kept: at least ten
 * seconds, longer where the walk took long, and for good once the container has ended. Who asks meanwhile gets the last
 * size with its time; who asks first waits, but not for ever.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { isCairnError, messageOf } from '../base/errors.ts';
import { Semaphore } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import { nowNs } from './cgroup-usage.ts';

export interface LayerSize {
  readonly atNs: bigint;
  readonly usedBytes: number;
  readonly inodesUsed: number;
}

interface Entry {
  size: LayerSize | undefined;
  /** By the clock that only goes forward. */
  freshUntilMs: number;
  measuring: Promise<void> | undefined;
}

const FRESH_MS = 10_000;
/** Walks may take this part of one processor. */
const EFFORT = 0.02;
const WAIT_MS = 1_000;
/** The snapshotter's threads are for removals and unpacking too. */
const AT_ONCE_MAX = 1;

export class LayerSizes {
  readonly #snapshotter: Pick<Snapshotter, 'usage'>;
  readonly #log: Logger;
  readonly #entries = new Map<string, Entry>();
  readonly #places = new Semaphore(AT_ONCE_MAX);
  #disposed = false;

  constructor(snapshotter: Pick<Snapshotter, 'usage'>, log: Logger) {
    this.#snapshotter = snapshotter;
    this.#log = log;
  }

  /** `ended`: nothing writes to it any more. */
  async get(id: string, ended: boolean): Promise<LayerSize | undefined> {
    const entry = this.#entries.get(id) ?? { size: undefined, freshUntilMs: 0, measuring: undefined };
    this.#entries.set(id, entry);
    if (performance.now() < entry.freshUntilMs) return entry.size;
    entry.measuring ??= this.#measure(id, entry, ended);
    await within(entry.measuring, WAIT_MS);
    return entry.size;
  }

  /** It has ended: what was measured before is not its last size. */
  expire(id: string): void {
    const entry = this.#entries.get(id);
    if (entry) entry.freshUntilMs = 0;
  }

  forget(id: string): void {
    this.#entries.delete(id);
  }

  dispose(): void {
    this.#disposed = true;
    this.#entries.clear();
  }

  async #measure(id: string, entry: Entry, ended: boolean): Promise<void> {
    try {
      using _place = await this.#places.acquire();
      if (this.#disposed || this.#entries.get(id) !== entry) return;
      const startedMs = performance.now();
      const { sizeBytes, inodes } = await this.#snapshotter.usage(id);
      const tookMs = performance.now() - startedMs;
      entry.size = { atNs: nowNs(), usedBytes: sizeBytes, inodesUsed: inodes };
      entry.freshUntilMs = ended ? Number.POSITIVE_INFINITY : performance.now() + Math.max(FRESH_MS, tookMs / EFFORT);
    } catch (error) {
      // NotFound: removed meanwhile. Cancelled: the daemon leaves.
      if (isCairnError(error, 'NotFound') || isCairnError(error, 'Cancelled')) return;
      entry.freshUntilMs = performance.now() + FRESH_MS;
      this.#log.warn({ container: id, err: error }, `the size of a layer could not be measured: ${messageOf(error)}`);
    } finally {
      entry.measuring = undefined;
    }
  }
}

/** Waits for `work`, which never fails, at most so long. */
async function within(work: Promise<void>, timeoutMs: number): Promise<void> {
  const controller = new AbortController();
  const timeout = sleep(timeoutMs, undefined, { signal: controller.signal }).catch(() => undefined);
  await Promise.race([work, timeout]);
  controller.abort();
}
