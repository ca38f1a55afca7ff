/** SQLite's failures as Cairn's. */
import { CairnError, type ErrorKind, messageOf } from '../base/errors.ts';

/** Primary result codes (sqlite.org/rescode.html); what is not here is a bug in a statement. */
const KINDS: ReadonlyMap<number, ErrorKind> = new Map([
  [3, 'PermissionDenied'], // PERM
  [5, 'Unavailable'], // BUSY
  [6, 'Unavailable'], // LOCKED
  [8, 'FailedPrecondition'], // READONLY
  [10, 'DataLoss'], // IOERR
  [11, 'DataLoss'], // CORRUPT
  [13, 'ResourceExhausted'], // FULL
  [14, 'FailedPrecondition'], // CANTOPEN
  [26, 'DataLoss'], // NOTADB
]);
const CONSTRAINTS: ReadonlyMap<number, ErrorKind> = new Map([
  [787, 'FailedPrecondition'], // CONSTRAINT_FOREIGNKEY
  [1555, 'AlreadyExists'], // CONSTRAINT_PRIMARYKEY
  [2067, 'AlreadyExists'], // CONSTRAINT_UNIQUE
]);

/** The extended result code of an error that node:sqlite threw, else undefined. */
export function sqliteCode(thrown: unknown): number | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('errcode' in thrown)) return undefined;
  return typeof thrown.errcode === 'number' ? thrown.errcode : undefined;
}

/** A `CairnError` that names the database for what the world did; anything else as it is. */
export function translate(thrown: unknown, path: string, step: string): unknown {
  const code = sqliteCode(thrown);
  if (code === undefined) return thrown;
  const kind = CONSTRAINTS.get(code) ?? KINDS.get(code & 0xff);
  if (kind === undefined) return thrown;
  return new CairnError(kind, `${path}: ${messageOf(thrown)}`, { step, cause: thrown });
}
