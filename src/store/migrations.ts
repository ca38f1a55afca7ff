/**
 * The schema of `cairn.db` and how an older one becomes the present one. READ THIS before writing a statement.
 *
 * `PRAGMA user_version` is the number of migrations that were applied. A migration, once released, never changes: append
 * a new one. All tables are STRICT (a value of the wrong type is an error), foreign keys are enforced.
 *
 * Values in and out
 * - Columns whose name ends in `_ns` (nanoseconds since 1970, int64) and `_bytes` may exceed 2^53. The store reads
 *   INTEGER columns as BigInt and hands them out as `number` when they are safe integers, EXCEPT columns that end in
 *   `_ns`: those are always `bigint`. A sum or an alias keeps the rule by its name (`SELECT max(created_at_ns) AS last_ns`).
 *   Booleans are 0 and 1. Numbers and BigInts may both be bound.
 * - `data` and `labels` are JSON text owned by the module that owns the table; nanoseconds inside are decimal strings.
 *
 * Tables (owner)
 * - snapshots (snapshotter): one row a snapshot; `id` names the directory `snapshots/ID` and is never used again
 *   (AUTOINCREMENT), so that a directory left by a crash can't become another snapshot's. `parent_id` can't dangle: a
 *   parent can't be deleted before its children. `size_bytes` and `inodes` are set when it is committed.
 * - images, image_names, image_blobs (images): `images.id` is the config digest. A name points to one image; `kind` is
 *   `tag` or `digest`. `role` of a blob: `manifest`, `index`, `config`, `layer`, ... Names and blobs go with their image.
 * - pods (pods), containers (containers): `identity` is the CRI identity as one string (name, namespace, uid, attempt;
 *   for a container: pod ID, name, attempt), unique over all rows: free it before you reuse it. A pod with containers
 *   can't be deleted.
 * - meta (whoever): small facts, `boot_id` first of all.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE snapshots (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT NOT NULL UNIQUE,
    kind          TEXT NOT NULL CHECK (kind IN ('active', 'view', 'committed')),
    parent_id     INTEGER REFERENCES snapshots(id),
    size_bytes    INTEGER,
    inodes        INTEGER,
    created_at_ns INTEGER NOT NULL,
    labels        TEXT NOT NULL DEFAULT '{}'
  ) STRICT;
  CREATE INDEX snapshots_by_parent ON snapshots(parent_id);

  CREATE TABLE images (
    id              TEXT PRIMARY KEY,
    manifest_digest TEXT NOT NULL,
    chain_id        TEXT,
    size_bytes      INTEGER NOT NULL,
    pinned          INTEGER NOT NULL DEFAULT 0 CHECK (pinned IN (0, 1)),
    created_at_ns   INTEGER NOT NULL,
    data            TEXT NOT NULL
  ) STRICT;

  CREATE TABLE image_names (
    name     TEXT PRIMARY KEY,
    kind     TEXT NOT NULL CHECK (kind IN ('tag', 'digest')),
    image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE
  ) STRICT;
  CREATE INDEX image_names_by_image ON image_names(image_id);

  CREATE TABLE image_blobs (
    image_id TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE,
    digest   TEXT NOT NULL,
    role     TEXT NOT NULL,
    PRIMARY KEY (image_id, digest, role)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX image_blobs_by_digest ON image_blobs(digest);

  CREATE TABLE pods (
    id       TEXT PRIMARY KEY,
    state    TEXT NOT NULL,
    identity TEXT NOT NULL UNIQUE,
    data     TEXT NOT NULL
  ) STRICT;

  CREATE TABLE containers (
    id       TEXT PRIMARY KEY,
    pod_id   TEXT NOT NULL REFERENCES pods(id),
    state    TEXT NOT NULL,
    identity TEXT NOT NULL UNIQUE,
    data     TEXT NOT NULL
  ) STRICT;
  CREATE INDEX containers_by_pod ON containers(pod_id);
  `,
];
