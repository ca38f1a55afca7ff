import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { silentLogger } from '../../../src/base/log.ts';
import { openStore, type SqlValue, type Store } from '../../../src/store/index.ts';

const WRITER = new URL('../../fixtures/store-writer.ts', import.meta.url);

let directory: string;
let path: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cairn-store-'));
  path = join(directory, 'cairn.db');
});

afterEach(() => {
  rmSync(directory, { recursive: true });
});

const open = (logBytesMax?: number) =>
  openStore({ path, log: silentLogger, ...(logBytesMax === undefined ? {} : { logBytesMax }) });
const ADD_POD = 'INSERT INTO pods VALUES (?, ?, ?, ?)';
const addPod = (store: Store, id: string, data = '{}') =>
  store.transaction((tx) => tx.run(ADD_POD, id, 'ready', `identity of ${id}`, data));
const podIds = (store: Store) => store.all('SELECT id FROM pods ORDER BY id').map((row) => row['id']);
const openDescriptors = () => readdirSync('/proc/self/fd').length;

test('what containers were told is readable by the owner of the files alone, also after an upgrade', async () => {
  const modes = () => readdirSync(directory).map((name) => (statSync(join(directory, name)).mode & 0o777).toString(8));
  {
    await using store = await open();
    await addPod(store, 'a');
    expect(modes()).toEqual(['600', '600', '600']);
  }
  chmodSync(path, 0o644);
  await using store = await open();
  await addPod(store, 'b');
  expect(modes()).toEqual(['600', '600', '600']);
});

describe('a transaction', () => {
  test('is atomic: what its work throws rolls back and comes out again', async () => {
    await using store = await open();
    await addPod(store, 'kept');
    const reason = new Error('no');
    const failing = store.transaction((tx) => {
      tx.run(ADD_POD, 'gone', 'ready', 'x', '{}');
      expect(tx.get('SELECT count(*) AS n FROM pods')).toEqual({ n: 2 });
      throw reason;
    });
    await expect(failing).rejects.toBe(reason);
    expect(podIds(store)).toEqual(['kept']);
    await addPod(store, 'next');
    expect(podIds(store)).toEqual(['kept', 'next']);
  });

  test('runs at once, so that reads see it before it is durable', async () => {
    await using store = await open();
    const adding = addPod(store, 'a');
    expect(podIds(store)).toEqual(['a']);
    expect(await adding).toEqual({ changes: 1, lastInsertRowid: 1 });
  });

  test('broken rules are failures with a kind', async () => {
    await using store = await open();
    await addPod(store, 'a');
    await expect(addPod(store, 'a')).rejects.toMatchObject({ kind: 'AlreadyExists' });
    const orphan = store.transaction((tx) =>
      tx.run('INSERT INTO containers VALUES (?, ?, ?, ?, ?)', 'c', 'no pod', 'created', 'i', '{}'),
    );
    await expect(orphan).rejects.toMatchObject({ kind: 'FailedPrecondition' });
    // Bugs stay bugs.
    await expect(store.transaction((tx) => tx.run('NOT SQL'))).rejects.toMatchObject({ code: 'ERR_SQLITE_ERROR' });
    await expect(addPod(store, 'b', 5 as unknown as string)).resolves.toBeDefined();
    await expect(store.transaction((tx) => tx.run(ADD_POD, 'c', 'ready', 'c', null))).rejects.toThrow('NOT NULL');
  });

  test('can not be nested, awaited inside, or used after its end', async () => {
    await using store = await open();
    await store.transaction((tx) => {
      tx.run(ADD_POD, 'outer', 'ready', 'outer', '{}');
      const inner = store.transaction(() => {});
      return { rejected: inner.catch(() => {}) };
    });
    expect(podIds(store)).toEqual(['outer']);
    await expect(store.transaction(async () => {})).rejects.toThrow('synchronous');
    const escaped = await store.transaction((tx) => ({ tx }));
    expect(() => escaped.tx.run('DELETE FROM pods')).toThrow('after its end');
    expect(podIds(store)).toEqual(['outer']);
  });

  test('many at once need few syncs', async () => {
    await using store = await open();
    const before = store.counts.syncs;
    await Promise.all(Array.from({ length: 500 }, (_, n) => addPod(store, `same-turn-${n}`)));
    expect(store.counts.syncs - before).toBeLessThanOrEqual(2);
    const callers = Array.from({ length: 50 }, async (_, caller) => {
      for (let n = 0; n < 10; n++) await addPod(store, `caller-${caller}-${n}`);
    });
    await Promise.all(callers);
    const syncs = store.counts.syncs - before;
    expect(syncs).toBeGreaterThanOrEqual(11);
    expect(syncs).toBeLessThan(60);
    expect(podIds(store)).toHaveLength(1000);
  });

  test('one that fails needs none', async () => {
    await using store = await open();
    const before = store.counts.syncs;
    await expect(
      store.transaction(() => {
        throw new Error('x');
      }),
    ).rejects.toThrow('x');
    expect(store.counts.syncs).toBe(before);
  });
});

describe('values', () => {
  test('nanoseconds are BigInt, other integers are numbers, blobs and null come back', async () => {
    await using store = await open();
    const createdAtNs = 1_790_000_000_123_456_789n;
    await store.transaction((tx) =>
      tx.run(
        'INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?)',
        ...(['sha256:a', 'sha256:m', null, 2 ** 40, 1, createdAtNs, '{}'] satisfies SqlValue[]),
      ),
    );
    expect(store.get('SELECT * FROM images')).toEqual({
      id: 'sha256:a',
      manifest_digest: 'sha256:m',
      chain_id: null,
      size_bytes: 2 ** 40,
      pinned: 1,
      created_at_ns: createdAtNs,
      data: '{}',
    });
    expect(store.get("SELECT 5 AS small_ns, 9007199254740993 AS large, x'00ff' AS bytes")).toEqual({
      small_ns: 5n,
      large: 9007199254740993n,
      bytes: new Uint8Array([0, 255]),
    });
    expect(store.get('SELECT id FROM images WHERE id = ?', 'none')).toBeUndefined();
  });

  test("a snapshot's number is never used again", async () => {
    await using store = await open();
    const add = (name: string) =>
      store.transaction(
        (tx) =>
          tx.run('INSERT INTO snapshots (name, kind, created_at_ns) VALUES (?, ?, ?)', name, 'active', 1n)
            .lastInsertRowid,
      );
    const first = await add('a');
    await store.transaction((tx) => tx.run('DELETE FROM snapshots'));
    expect(await add('b')).toBe(first + 1);
  });
});

describe('the file', () => {
  test('holds everything after it was closed and opened again, and closing leaves no descriptor', async () => {
    {
      await using store = await open();
      await addPod(store, 'a');
    }
    const before = openDescriptors();
    {
      await using store = await open();
      expect(podIds(store)).toEqual(['a']);
      await addPod(store, 'b');
    }
    expect(openDescriptors()).toBeLessThanOrEqual(before);
    expect(readdirSync(directory)).toEqual(['cairn.db']);
    const closed = await open();
    await closed[Symbol.asyncDispose]();
    await expect(addPod(closed, 'c')).rejects.toMatchObject({ kind: 'FailedPrecondition' });
  });

  test('of a newer Cairn is refused, with both versions named', async () => {
    await (await open())[Symbol.asyncDispose]();
    const database = new DatabaseSync(path);
    database.exec('PRAGMA user_version = 77');
    database.close();
    await expect(open()).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: expect.stringMatching(/cairn\.db.*version 77; this one knows 1/),
    });
  });

  test('that is no database, or a damaged one, is DataLoss naming it', async () => {
    writeFileSync(path, 'x'.repeat(8192));
    await expect(open()).rejects.toMatchObject({ kind: 'DataLoss', message: expect.stringContaining(path) });
    rmSync(path);
    {
      await using store = await open();
      for (let n = 0; n < 200; n++) void addPod(store, `pod-${n}`, 'x'.repeat(1000));
      await addPod(store, 'last');
    }
    const bytes = readFileSync(path);
    bytes.fill(0xff, 100_000, 120_000);
    writeFileSync(path, bytes);
    await expect(open()).rejects.toMatchObject({ kind: 'DataLoss', message: expect.stringContaining(path) });
  });

  test('in a missing directory is FailedPrecondition', async () => {
    path = join(directory, 'missing', 'cairn.db');
    await expect(open()).rejects.toMatchObject({ kind: 'FailedPrecondition' });
  });
});

describe('the log', () => {
  test('is brought into the database and starts over while commits go on', async () => {
    const logBytesMax = 256 << 10;
    await using store = await open(logBytesMax);
    const data = 'x'.repeat(4000);
    const order: number[] = [];
    const writers = Array.from({ length: 4 }, async (_, writer) => {
      for (let n = 0; n < 300; n++) {
        await addPod(store, `pod-${writer}-${n}`, data);
        order.push(store.all('SELECT 1 FROM pods').length);
      }
    });
    await Promise.all(writers);
    while (store.counts.checkpoints < 2) {
      await addPod(store, `more-${store.counts.checkpoints}-${order.length}`, data);
      order.push(0);
      await sleep(1);
    }
    // About 10 MB were written; the log itself stays near its limit plus what came during one checkpoint.
    expect(statSync(`${path}-wal`).size).toBeLessThan(6 << 20);
    expect(statSync(path).size).toBeGreaterThan(4 << 20);
    expect(store.get('PRAGMA quick_check')).toEqual({ quick_check: 'ok' });
  });

  test('transactions held back by a checkpoint run in their order', async () => {
    await using store = await open(1);
    const seen: number[] = [];
    await addPod(store, 'first');
    for (let n = 0; n < 200; n++) {
      void store.transaction((tx) => {
        seen.push(n);
        tx.run(ADD_POD, `p${n}`, 'ready', `${n}`, '{}');
      });
      if (n % 10 === 0) await sleep(1);
    }
    await addPod(store, 'last');
    expect(seen).toEqual(Array.from({ length: 200 }, (_, n) => n));
    expect(podIds(store)).toHaveLength(202);
  });

  test('a transaction that comes while the log is restarted waits, without blocking, and then runs', async () => {
    const fixture = fileURLToPath(new URL('../../fixtures/store-held.ts', import.meta.url));
    const result = await promisify(execFile)(process.execPath, [fixture, path], {
      env: { ...process.env, CAIRN_FAILPOINTS: 'store.checkpoint.restart=delay:300' },
    });
    const { sawTheLastOne, after, blockedMs } = JSON.parse(result.stdout);
    expect({ sawTheLastOne, after }).toEqual({ sawTheLastOne: true, after: true });
    expect(blockedMs).toBeLessThan(150);
  });

  test('a kill while the log is restarted loses nothing', async () => {
    const writer = spawn(process.execPath, [fileURLToPath(WRITER), path], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, CAIRN_FAILPOINTS: 'store.checkpoint.restart=crash' },
    });
    let acknowledged = 0;
    for await (const chunk of writer.stdout) acknowledged = Number(String(chunk).trim().split('\n').at(-1));
    if (writer.exitCode === null && writer.signalCode === null) await once(writer, 'exit');
    expect(writer.signalCode).toBe('SIGKILL');
    await using store = await open();
    expect(store.get('SELECT count(*) AS n FROM pods')?.['n']).toBe(acknowledged);
  });

  test('an acknowledged commit is there after a kill -9', async () => {
    for (let round = 0; round < 3; round++) {
      const writer = spawn(process.execPath, [fileURLToPath(WRITER), path], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const stopAt = 1 + round * 150;
      let acknowledged = 0;
      for await (const chunk of writer.stdout) {
        acknowledged = Number(String(chunk).trim().split('\n').at(-1));
        if (acknowledged >= stopAt) writer.kill('SIGKILL');
      }
      if (writer.exitCode === null && writer.signalCode === null) await once(writer, 'exit');
      await using store = await open();
      expect(acknowledged).toBeGreaterThanOrEqual(stopAt);
      const rows = store.get(
        'SELECT (SELECT count(*) FROM pods) AS pods, (SELECT count(*) FROM containers) AS containers',
      );
      expect(rows?.['pods']).toBeGreaterThanOrEqual(acknowledged);
      expect(rows?.['containers']).toBe(rows?.['pods']);
      expect(store.get('PRAGMA quick_check')).toEqual({ quick_check: 'ok' });
      await store.transaction((tx) => {
        tx.run('DELETE FROM containers');
        tx.run('DELETE FROM pods');
      });
    }
  });
});
