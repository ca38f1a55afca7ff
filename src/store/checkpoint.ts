/**
 * Brings the write-ahead log into the database when it has grown, in a worker thread that lives for one checkpoint.
 *
 * First the worker copies what is there while commits go on. Then commits are held back (some ms) while it copies the
 * rest, restarts the log and makes the log's first commit, which syncs the new header. Without this second part the log
 * would never start over under a steady stream of commits, and that sync would fall on the event loop. Reads go on.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import { Worker } from 'node:worker_threads';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { workerUrl } from '../base/worker-url.ts';
import type { CheckpointMessage } from './store-checkpoint-worker.ts';

/** A page and its header in the log (sqlite.org/fileformat2.html#walformat). */
const FRAME_BYTES = 4096 + 24;

interface Options {
  readonly path: string;
  readonly database: DatabaseSync;
  readonly log: Logger;
  readonly logBytesMax: number;
  /** Holds transactions back; they are synchronous, so none is under way when it returns. */
  readonly hold: () => void;
  readonly release: () => void;
}

export class Checkpointer {
  readonly #options: Options;
  /** Says how large the log is, without doing anything (4 us). */
  readonly #measure: StatementSync;
  #running: Promise<void> | undefined;
  /** After a checkpoint that could not restart the log (somebody reads): the next try comes when it has grown again. */
  #framesMin: number;
  count = 0;

  constructor(options: Options) {
    this.#options = options;
    this.#measure = options.database.prepare('PRAGMA wal_checkpoint(NOOP)');
    this.#framesMin = this.#step;
  }

  /** Call after a commit: starts a checkpoint when it is time. */
  consider(): void {
    if (this.#running) return;
    const frames = this.#frames();
    if (frames < this.#framesMin) return;
    this.#running = this.#checkpoint(frames).finally(() => {
      this.#running = undefined;
    });
  }

  async idle(): Promise<void> {
    await this.#running;
  }

  get #step(): number {
    return Math.ceil(this.#options.logBytesMax / FRAME_BYTES);
  }

  #frames(): number {
    return Number(this.#measure.get()?.['log'] ?? 0);
  }

  async #checkpoint(frames: number): Promise<void> {
    const { log } = this.#options;
    const startedAt = performance.now();
    try {
      await this.#work();
      this.count++;
    } catch (error) {
      log.warn({ error: messageOf(error) }, 'the write-ahead log could not be brought into the database; trying later');
    } finally {
      this.#options.release();
    }
    const left = this.#frames();
    this.#framesMin = left + this.#step;
    log.debug({ frames, left, durationMs: performance.now() - startedAt }, 'checkpoint');
  }

  #work(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const worker = new Worker(workerUrl('./store-checkpoint-worker', import.meta.url), {
      name: 'cairn-checkpoint',
      workerData: this.#options.path,
    });
    worker.on('message', (message: CheckpointMessage) => {
      if (message !== 'copied') return;
      this.#options.hold();
      worker.postMessage('restart');
    });
    worker.on('error', reject);
    worker.on('exit', (code) => (code === 0 ? resolve() : reject(new Error(`the worker ended with code ${code}`))));
    return promise;
  }
}
