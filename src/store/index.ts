/**
 * The store: one SQLite database (`ROOT/cairn.db`, WAL) that says what exists.
 *
 * A write is acknowledged when it would survive a power cut. SQLite runs with synchronous=NORMAL, which never syncs on
 * commit; the store syncs the write-ahead log itself, off the event loop and once for all commits that wait (group
 * commit). Reads are synchronous (about 10 us) and see every commit, also one whose sync is still under way.
 *
 * The schema and its migrations live here; the statements live in the module that owns the table. migrations.ts says
 * which columns are read as BigInt.
 *
 * Errors: a broken UNIQUE or PRIMARY KEY is AlreadyExists, a broken foreign key FailedPrecondition, a full disk
 * ResourceExhausted, a corrupt or unsynced file DataLoss naming it. A wrong statement is a bug and stays SQLite's error.
 */
export type SqlValue = string | number | bigint | null | Uint8Array;
export type Row = Readonly<Record<string, SqlValue>>;

/** Inside a transaction: statements run at once, in order. */
export interface Transaction {
  run(sql: string, ...values: SqlValue[]): { readonly changes: number; readonly lastInsertRowid: number };
  get(sql: string, ...values: SqlValue[]): Row | undefined;
  all(sql: string, ...values: SqlValue[]): Row[];
}

export interface Store extends AsyncDisposable {
  /** One row, or undefined. */
  get(sql: string, ...values: SqlValue[]): Row | undefined;
  /** All rows. */
  all(sql: string, ...values: SqlValue[]): Row[];
  /**
   * Runs `work` (synchronous, atomic: what it throws rolls back and is rethrown) and resolves once it is durable.
   * `work` runs before this returns, except while a checkpoint restarts the log (some ms, once in hundreds of commits):
   * then it runs a little later, in the order of the calls.
   * Throws `DataLoss` when the log can't be synced: the store then refuses every further write.
   */
  transaction<T>(work: (tx: Transaction) => T): Promise<T>;
}

export { openStore, type StoreOptions } from './sqlite.ts';
