/** Opens the database file and brings its schema up to date. */
import { chmodSync, closeSync, existsSync, openSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { CairnError, errnoOf, messageOf } from '../base/errors.ts';
import { MIGRATIONS } from './migrations.ts';
import { translate } from './sqlite-errors.ts';

/** How long an outside hand (a shell of somebody who looks) may hold the write lock. It blocks the event loop. */
const BUSY_TIMEOUT_MS = 250;

/** Rows hold the environment of containers: nobody else's business. SQLite gives its other files the mode of this one. */
const FILE_MODE = 0o600;

/** Checkpoints and syncs are the store's own business (see sqlite.ts), so SQLite's automatic ones are off. */
export function openDatabase(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    makePrivate(path);
    database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS, enableForeignKeyConstraints: true });
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0');
    checkIntegrity(database, path);
    migrate(database, path);
    return database;
  } catch (error) {
    database?.close();
    throw translate(error, path, 'store.open');
  }
}

function makePrivate(path: string): void {
  try {
    closeSync(openSync(path, 'a', FILE_MODE));
    for (const suffix of ['', '-wal', '-shm']) {
      if (existsSync(`${path}${suffix}`)) chmodSync(`${path}${suffix}`, FILE_MODE);
    }
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    const message = `${path}: ${messageOf(error)}`;
    throw new CairnError('FailedPrecondition', message, { step: 'store.open', cause: error });
  }
}

function checkIntegrity(database: DatabaseSync, path: string): void {
  const result = database.prepare('PRAGMA quick_check(1)').get();
  const verdict = result?.['quick_check'];
  if (verdict === 'ok') return;
  throw new CairnError('DataLoss', `${path}: the database is corrupt: ${String(verdict)}`, { step: 'store.open' });
}

function migrate(database: DatabaseSync, path: string): void {
  const version = Number(database.prepare('PRAGMA user_version').get()?.['user_version']);
  const known = MIGRATIONS.length;
  if (version > known) {
    throw new CairnError(
      'FailedPrecondition',
      `${path}: written by a newer Cairn (schema version ${version}; this one knows ${known})`,
      { step: 'store.open' },
    );
  }
  for (const [index, migration] of MIGRATIONS.entries()) {
    if (index < version) continue;
    // One transaction each: a crash leaves a version, never half of one.
    database.exec('BEGIN IMMEDIATE');
    try {
      database.exec(migration);
      database.exec(`PRAGMA user_version = ${index + 1}; COMMIT`);
    } catch (error) {
      database.exec('ROLLBACK');
      throw error;
    }
  }
}
