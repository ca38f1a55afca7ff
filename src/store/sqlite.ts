/**
 * The store over node:sqlite. Statements run at once on the event loop, in microseconds; whatever waits for the disk (the
 * sync of a commit: log-sync.ts; checkpoints: checkpoint.ts) happens in other threads.
 *
 * SQLite runs with synchronous=NORMAL, under which a commit only writes to the page cache, with one exception: the first
 * commit after the log was restarted syncs the log's header. The checkpoint worker makes that commit, so that it does not
 * fall on the event loop.
 */
import { dirname } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import { types } from 'node:util';
import { syncDirectory } from '../base/durable.ts';
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { Logger } from '../base/log.ts';
import { series } from '../base/metrics.ts';
import { stage } from '../base/stages.ts';
import { Checkpointer } from './checkpoint.ts';
import type { Row, SqlValue, Store, Transaction } from './index.ts';
import { LogSync } from './log-sync.ts';
import { openDatabase } from './schema.ts';
import { translate } from './sqlite-errors.ts';
import { Statements } from './statements.ts';

export interface StoreOptions {
  /** The database file; its directory exists. `-wal` and `-shm` lie beside it. */
  readonly path: string;
  readonly log: Logger;
  /** A log larger than this is brought into the database. Default 4 MiB. */
  readonly logBytesMax?: number;
}

const LOG_BYTES_MAX = 4 << 20;

/**
 * Opens or makes the database, and migrates it. FailedPrecondition when a newer Cairn wrote it, DataLoss naming the file
 * when it is corrupt. The caller sees to it that no other process does the same (`lockFile`).
 */
export async function openStore(options: StoreOptions): Promise<SqliteStore> {
  const { path } = options;
  const log = options.log.child({ module: 'store' });
  const database = openDatabase(path);
  try {
    // Start-up pays for the header of a fresh log, and the names of all three files become durable.
    database.exec("INSERT INTO meta VALUES ('opened_at', datetime()) ON CONFLICT DO UPDATE SET value = excluded.value");
    const sync = await LogSync.open(path);
    await sync.durable();
    await syncDirectory(dirname(path));
    return new SqliteStore({ path, database, sync, log, logBytesMax: options.logBytesMax ?? LOG_BYTES_MAX });
  } catch (error) {
    database.close();
    throw translate(error, path, 'store.open');
  }
}

interface Parts {
  readonly path: string;
  readonly database: DatabaseSync;
  readonly sync: LogSync;
  readonly log: Logger;
  readonly logBytesMax: number;
}

export class SqliteStore implements Store {
  readonly #path: string;
  readonly #database: DatabaseSync;
  readonly #statements: Statements;
  readonly #sync: LogSync;
  readonly #checkpointer: Checkpointer;
  /** Transactions that came while the checkpoint worker held the write lock, in their order. */
  #held: (() => void)[] | undefined;
  #inTransaction = false;
  #closed: Promise<void> | undefined;

  constructor(parts: Parts) {
    this.#path = parts.path;
    this.#database = parts.database;
    this.#statements = new Statements(parts.database);
    this.#sync = parts.sync;
    this.#checkpointer = new Checkpointer({
      ...parts,
      hold: () => {
        this.#held ??= [];
      },
      release: () => {
        const held = this.#held ?? [];
        this.#held = undefined;
        for (const start of held) start();
      },
    });
  }

  /** For tests: how often the log was synced, and how often it was brought into the database. */
  get counts(): { readonly syncs: number; readonly checkpoints: number } {
    return { syncs: this.#sync.count, checkpoints: this.#checkpointer.count };
  }

  get(sql: string, ...values: SqlValue[]): Row | undefined {
    return this.#translated(() => this.#statements.get(sql, values));
  }

  all(sql: string, ...values: SqlValue[]): Row[] {
    return this.#translated(() => this.#statements.all(sql, values));
  }

  transaction<T>(work: (tx: Transaction) => T): Promise<T> {
    return stage('store.commit', () => this.#commit(work));
  }

  async #commit<T>(work: (tx: Transaction) => T): Promise<T> {
    const startedAt = performance.now();
    const waiting = failpoint('store.begin');
    if (waiting) await waiting;
    const value = await this.#whenFree(() => this.#run(work));
    await this.#sync.durable();
    series.storeCommit.observe((performance.now() - startedAt) / 1000);
    this.#checkpointer.consider();
    return value;
  }

  /** Waits for the syncs and the checkpoint under way, then brings the log into the database, on this thread. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await this.#checkpointer.idle();
    await this.#sync.close();
    // After a failed sync the log on disk is the better witness: SQLite must not go on as if it were whole.
    if (this.#sync.failure) return;
    this.#database.close();
  }

  #whenFree<T>(run: () => T): T | Promise<T> {
    const held = this.#held;
    if (held === undefined) return run();
    return new Promise((resolve, reject) => {
      held.push(() => {
        try {
          resolve(run());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #run<T>(work: (tx: Transaction) => T): T {
    if (this.#closed) throw new CairnError('FailedPrecondition', 'the store is closed', { step: 'store.begin' });
    if (this.#sync.failure) throw this.#sync.failure;
    if (this.#inTransaction) throw new Error('a transaction inside a transaction');
    return this.#translated(() => {
      this.#database.exec('BEGIN IMMEDIATE');
      this.#inTransaction = true;
      try {
        const value = work(this.#transaction);
        if (types.isPromise(value)) throw new Error('the work of a transaction must be synchronous');
        this.#database.exec('COMMIT');
        return value;
      } catch (error) {
        // SQLite has rolled back by itself after some failures (disk full).
        if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
        throw error;
      } finally {
        this.#inTransaction = false;
      }
    });
  }

  readonly #transaction: Transaction = {
    run: (sql, ...values) => this.#inside(() => this.#statements.run(sql, values)),
    get: (sql, ...values) => this.#inside(() => this.#statements.get(sql, values)),
    all: (sql, ...values) => this.#inside(() => this.#statements.all(sql, values)),
  };

  #inside<T>(statement: () => T): T {
    if (!this.#inTransaction) throw new Error('a transaction was used after its end');
    return this.#translated(statement);
  }

  #translated<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw translate(error, this.#path, 'store.statement');
    }
  }
}
