/**
 * Prepared statements, kept by their text, and rows in the shape that migrations.ts promises: INTEGER is read as BigInt
 * and becomes a number when that is exact, except in columns whose name ends in `_ns`.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite';
import type { Row, SqlValue } from './index.ts';

/** Statements are few and fixed; more than this means that somebody writes values into the text. */
const STATEMENTS_MAX = 512;

interface Prepared {
  readonly statement: StatementSync;
  readonly keepBigInt: ReadonlySet<string>;
}

export class Statements {
  readonly #database: DatabaseSync;
  readonly #prepared = new Map<string, Prepared>();

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  run(sql: string, values: readonly SqlValue[]): { readonly changes: number; readonly lastInsertRowid: number } {
    const { changes, lastInsertRowid } = this.#prepare(sql).statement.run(...values);
    return { changes: Number(changes), lastInsertRowid: Number(lastInsertRowid) };
  }

  get(sql: string, values: readonly SqlValue[]): Row | undefined {
    const prepared = this.#prepare(sql);
    const row = prepared.statement.get(...values);
    return row === undefined ? undefined : shape(row, prepared.keepBigInt);
  }

  all(sql: string, values: readonly SqlValue[]): Row[] {
    const prepared = this.#prepare(sql);
    return prepared.statement.all(...values).map((row) => shape(row, prepared.keepBigInt));
  }

  #prepare(sql: string): Prepared {
    const known = this.#prepared.get(sql);
    if (known) return known;
    if (this.#prepared.size === STATEMENTS_MAX) throw new Error(`too many different statements, the last: ${sql}`);
    const statement = this.#database.prepare(sql);
    statement.setReadBigInts(true);
    const names = statement.columns().map((column) => column.name);
    const prepared = { statement, keepBigInt: new Set(names.filter((name) => name.endsWith('_ns'))) };
    this.#prepared.set(sql, prepared);
    return prepared;
  }
}

type RawRow = Record<string, SqlValue>;

/** In place: the row was made for us. */
function shape(row: RawRow, keepBigInt: ReadonlySet<string>): Row {
  for (const name in row) {
    const value = row[name];
    if (typeof value !== 'bigint' || keepBigInt.has(name)) continue;
    const exact = value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER;
    if (exact) row[name] = Number(value);
  }
  return row;
}
