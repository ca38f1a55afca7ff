/** The table `snapshots`: what exists. Statements only; who may do what is decided by the callers. */
import { CairnError } from '../base/errors.ts';
import type { Row, SqlValue, Store, Transaction } from '../store/index.ts';
import type { SnapshotInfo, SnapshotKind, Usage } from './index.ts';

export interface SnapshotRow {
  /** Names the directory; never used again. */
  readonly id: number;
  readonly name: string;
  readonly kind: SnapshotKind;
  readonly parentId: number | undefined;
  readonly parentName: string | undefined;
  readonly usage: Usage | undefined;
  readonly createdAtNs: bigint;
}

/** What both a store and a transaction can do. */
type Reader = Pick<Transaction, 'get' | 'all'>;

const COLUMNS = `s.id, s.name, s.kind, s.parent_id, s.size_bytes, s.inodes, s.created_at_ns, p.name AS parent_name
  FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent_id`;

export function findSnapshot(reader: Reader, name: string): SnapshotRow | undefined {
  const row = reader.get(`SELECT ${COLUMNS} WHERE s.name = ?`, name);
  return row && parseRow(row);
}

/** As `findSnapshot`, but its absence is a NotFound. */
export function needSnapshot(reader: Reader, name: string): SnapshotRow {
  const row = findSnapshot(reader, name);
  if (!row) throw new CairnError('NotFound', `snapshot ${name} does not exist`, { step: 'snapshotter.find' });
  return row;
}

export function mustNotExist(reader: Reader, name: string): void {
  if (!findSnapshot(reader, name)) return;
  throw new CairnError('AlreadyExists', `snapshot ${name} exists already`, { step: 'snapshotter.create' });
}

export function allSnapshots(reader: Reader): SnapshotRow[] {
  return reader.all(`SELECT ${COLUMNS} ORDER BY s.id`).map(parseRow);
}

export function childrenOf(reader: Reader, id: number): string[] {
  return reader.all('SELECT name FROM snapshots WHERE parent_id = ? ORDER BY id', id).map((row) => String(row['name']));
}

/** The numbers of a snapshot and all below it, top first. */
export function chainOf(reader: Reader, id: number): number[] {
  return reader
    .all(
      `WITH RECURSIVE chain(id, parent_id, depth) AS (
         SELECT id, parent_id, 0 FROM snapshots WHERE id = ?
         UNION ALL
         SELECT s.id, s.parent_id, depth + 1 FROM snapshots s JOIN chain c ON s.id = c.parent_id)
       SELECT id FROM chain ORDER BY depth`,
      id,
    )
    .map((row) => Number(row['id']));
}

/** The highest number that was ever given out. */
export function lastId(store: Store): number {
  return Number(store.get("SELECT seq FROM sqlite_sequence WHERE name = 'snapshots'")?.['seq'] ?? 0);
}

export function insertSnapshot(tx: Transaction, row: Omit<SnapshotRow, 'parentName'>): void {
  tx.run(
    'INSERT INTO snapshots (id, name, kind, parent_id, size_bytes, inodes, created_at_ns) VALUES (?, ?, ?, ?, ?, ?, ?)',
    row.id,
    row.name,
    row.kind,
    row.parentId ?? null,
    row.usage?.sizeBytes ?? null,
    row.usage?.inodes ?? null,
    row.createdAtNs,
  );
}

export function commitSnapshot(tx: Transaction, id: number, name: string, usage: Usage): void {
  tx.run(
    "UPDATE snapshots SET kind = 'committed', name = ?, size_bytes = ?, inodes = ? WHERE id = ?",
    name,
    usage.sizeBytes,
    usage.inodes,
    id,
  );
}

export function deleteSnapshot(tx: Transaction, id: number): void {
  tx.run('DELETE FROM snapshots WHERE id = ?', id);
}

export function countByKind(reader: Reader): ReadonlyMap<string, number> {
  const rows = reader.all('SELECT kind, count(*) AS snapshots FROM snapshots GROUP BY kind');
  return new Map(rows.map((row) => [String(row['kind']), Number(row['snapshots'])]));
}

export function infoOf(row: SnapshotRow): SnapshotInfo {
  const { name, kind, parentName, usage, createdAtNs } = row;
  return { name, kind, parent: parentName, usage, createdAtNs };
}

function parseRow(row: Row): SnapshotRow {
  const sizeBytes = optionalNumber(row['size_bytes']);
  const inodes = optionalNumber(row['inodes']);
  return {
    id: Number(row['id']),
    name: String(row['name']),
    kind: String(row['kind']) as SnapshotKind,
    parentId: optionalNumber(row['parent_id']),
    parentName: typeof row['parent_name'] === 'string' ? row['parent_name'] : undefined,
    usage: sizeBytes === undefined || inodes === undefined ? undefined : { sizeBytes, inodes },
    createdAtNs: BigInt(row['created_at_ns'] as bigint),
  };
}

function optionalNumber(value: SqlValue | undefined): number | undefined {
  return value === null || value === undefined ? undefined : Number(value);
}
