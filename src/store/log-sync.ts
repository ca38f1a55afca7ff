/**
 * Group commit: one fdatasync of the write-ahead log for all commits that wait.
 *
 * Why this is enough. A commit with synchronous=NORMAL writes its frames to the `-wal` file (into the page cache) and
 * returns. fdatasync works on the file, not on the descriptor, so one through a descriptor of our own makes every commit
 * durable whose write came before it began; recovery after a power cut replays the log up to the last whole commit.
 * When a checkpoint takes commits out of the log, it has first synced the log, then written and synced the database, and
 * only then may a writer start the log from its beginning (SQLite's rule for NORMAL and FULL; the checkpointer runs with
 * FULL). The first write to a restarted log syncs the new header before any frame, so frames of the log's former life
 * can't come back. So each acknowledged commit is at any time in the synced log or in the synced database.
 * The `-wal` file lives as long as a connection is open, so the descriptor stays right; SQLite's POSIX locks are on the
 * database and `-shm`, so closing it drops none.
 *
 * A failed fdatasync may have thrown dirty pages away, and a second one would succeed without them. So the first failure
 * is the last: this store takes no further write.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { CairnError, messageOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: CairnError) => void;
}

export class LogSync {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #waiting: Waiter[] = [];
  #running: Promise<void> | undefined;
  #failure: CairnError | undefined;
  /** Syncs so far, for tests and for the curious. */
  count = 0;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  static async open(databasePath: string): Promise<LogSync> {
    const path = `${databasePath}-wal`;
    return new LogSync(path, await open(path, 'r+'));
  }

  /** Set once a sync failed. */
  get failure(): CairnError | undefined {
    return this.#failure;
  }

  /** Resolves when what was written before the call is durable. */
  async durable(): Promise<void> {
    if (this.#failure) throw this.#failure;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ resolve, reject });
    // A sync under way began before our write may have ended: the next one is ours.
    this.#running ??= this.#run();
    await promise;
  }

  async close(): Promise<void> {
    await this.#running;
    await this.#file.close();
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      let group: Waiter[] = [];
      try {
        // Also lets every commit of this turn of the loop join.
        await failpoint('store.sync');
        group = this.#waiting.splice(0);
        if (this.#failure) throw this.#failure;
        await this.#file.datasync();
        this.count++;
        for (const waiter of group) waiter.resolve();
      } catch (error) {
        const message = `${this.#path}: sync failed (${messageOf(error)}); nothing more is written until the next start`;
        this.#failure ??= new CairnError('DataLoss', message, { step: 'store.sync', cause: error });
        group.push(...this.#waiting.splice(0));
        for (const waiter of group) waiter.reject(this.#failure);
      }
    }
    this.#running = undefined;
  }
}
