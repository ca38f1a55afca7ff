/** After a crash at any step: rows and directories agree, what was acknowledged is there, and everything can be done again. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { silentLogger } from '../../../src/base/log.ts';
import { bindMount } from '../../../src/linux/index.ts';
import { openSnapshotter } from '../../../src/snapshotter/index.ts';
import { openStore } from '../../../src/store/index.ts';
import { describeTree, SnapshotWorld } from '../../fixtures/snapshot-world.ts';
import { makeTar } from '../../fixtures/tar-writer.ts';

const SOURCES = new URL('../../../src/snapshotter/', import.meta.url).pathname;
const PROGRAM = new URL('../../fixtures/snapshot-life-main.ts', import.meta.url).pathname;

/** Every failpoint of the module, at one of the times that the program passes it. */
const CRASHES: readonly string[] = [
  'snapshotter.stage.unpack=crash@2',
  'snapshotter.stage.done=crash@2',
  'snapshotter.mend=crash@1',
  'snapshotter.publish.rename=crash@2',
  'snapshotter.publish.sync=crash@2',
  'snapshotter.publish.row=crash@3',
  'snapshotter.prepare.directory=crash@2',
  'snapshotter.prepare.row=crash@1',
  'snapshotter.commit.sync=crash@1',
  'snapshotter.commit.row=crash@1',
  'snapshotter.remove.row=crash@1',
  'snapshotter.trash.rename=crash@5',
];

describe('a daemon killed at a step', () => {
  let template = '';
  beforeAll(async () => {
    template = await mkdtemp(join(tmpdir(), 'cairn-snapshot-life-'));
    await writeFile(
      join(template, 'first'),
      makeTar([
        { name: './', mode: 0o711 },
        { name: 'etc/', mode: 0o750 },
        { name: 'etc/file', data: 'f' },
      ]),
    );
    await writeFile(
      join(template, 'second'),
      makeTar([
        { name: 'etc/new', data: 'n' },
        { name: 'link', type: '1', linkTarget: 'etc/file' },
      ]),
    );
  });
  afterAll(() => rm(template, { recursive: true, force: true }));

  // A process each, which costs most of the time: several at once.
  test('leaves what the next start puts right', async () => {
    const waiting = [...CRASHES];
    const walk = async () => {
      for (let failpoints = waiting.pop(); failpoints; failpoints = waiting.pop()) await crashAndRecover(failpoints);
    };
    await Promise.all([walk(), walk(), walk(), walk()]);
  }, 60_000);

  async function crashAndRecover(failpoints: string): Promise<void> {
    const rootDirectory = join(template, failpoints.replaceAll(/[^\w.]/g, '-'));
    await mkdir(rootDirectory);
    const crashed = await run(rootDirectory, failpoints);
    expect([failpoints, crashed.signal]).toEqual([failpoints, 'SIGKILL']);
    const state = await inspect(rootDirectory);
    expect({ failpoints, ...state }).toMatchObject({ failpoints, directories: state.rowIds, staging: [], trash: [] });
    // What was acknowledged is there (`one` lives on as `committed`, `two` may be gone).
    const kept = crashed.done.filter((name) => name !== 'removed' && name !== 'one' && name !== 'two');
    expect({ failpoints, names: state.names }).toEqual({ failpoints, names: expect.arrayContaining(kept) });
    const again = await run(rootDirectory, '');
    expect({ failpoints, ...again }).toMatchObject({ failpoints, signal: null, done: { length: 7 } });
  }

  test('or failing there leaves nothing, without any restart', async () => {
    const places = ['stage.unpack@2', 'stage.done@2', 'mend@1', 'publish.rename@1', 'publish.row@3', 'prepare.row@2'];
    await Promise.all(places.map((place) => failAndLook(place)));
  }, 60_000);

  async function failAndLook(place: string): Promise<void> {
    const [point, hit] = place.split('@');
    const rootDirectory = join(template, `error-${place}`);
    await mkdir(rootDirectory);
    const failed = await run(rootDirectory, `snapshotter.${point}=error@${hit}`);
    expect([place, failed.signal]).toEqual([place, null]);
    expect(failed.done.length).toBeLessThan(7);
    const before = await directoriesIn(rootDirectory);
    expect({ place, ...(await inspect(rootDirectory)) }).toMatchObject({ place, ...before });
  }

  test('is tried at every failpoint that the module has', async () => {
    const names = new Set<string>();
    for (const file of await readdir(SOURCES)) {
      const text = await readFile(join(SOURCES, file), 'utf8');
      for (const [, name] of text.matchAll(/failpoint\('([^']+)'\)/g)) names.add(name ?? '');
    }
    expect([...new Set(CRASHES.map((crash) => crash.split('=')[0] ?? ''))].sort()).toEqual([...names].sort());
  });

  async function inspect(rootDirectory: string) {
    await using store = await openStore({ path: join(rootDirectory, 'cairn.db'), log: silentLogger });
    const snapshotter = await openSnapshotter({ rootDirectory, store, log: silentLogger });
    await snapshotter.reconcile();
    await snapshotter[Symbol.asyncDispose]();
    const rows = store.all('SELECT id, name FROM snapshots ORDER BY id');
    return {
      names: rows.map((row) => String(row['name'])),
      rowIds: rows.map((row) => Number(row['id'])),
      ...(await directoriesIn(rootDirectory)),
    };
  }

  async function directoriesIn(rootDirectory: string) {
    const entries = await readdir(join(rootDirectory, 'snapshots'));
    return {
      directories: entries
        .filter((name) => /^\d+$/.test(name))
        .map(Number)
        .sort((a, b) => a - b),
      staging: await readdir(join(rootDirectory, 'snapshots/staging')),
      trash: await readdir(join(rootDirectory, 'snapshots/trash')),
    };
  }
});

function run(rootDirectory: string, failpoints: string): Promise<{ signal: string | null; done: string[] }> {
  const env = { ...process.env, CAIRN_FAILPOINTS: failpoints, NODE_OPTIONS: '' };
  return new Promise((resolve) => {
    execFile(process.execPath, [PROGRAM, rootDirectory], { env }, (error, stdout) => {
      const done = Array.from(stdout.matchAll(/^done (.*)$/gm), ([, name]) => name ?? '');
      resolve({ signal: error?.signal ?? null, done });
    });
  });
}

describe('reconcile', () => {
  let world: SnapshotWorld;
  beforeEach(async () => {
    world = await SnapshotWorld.open();
  });
  afterEach(() => world[Symbol.asyncDispose]());

  test('removes what no row knows, even with mounts in it, and nothing else', async () => {
    const top = await world.chain([{ name: 'a', data: 'a' }], [{ name: 'b', data: 'b' }]);
    await world.snapshotter.prepare('one', top);
    const before = describeTree(world.own('one'));
    const lower = world.own(top);
    await mkdir(join(world.snapshots, '999/fs/sub'), { recursive: true });
    for (const view of ['staging/dead/view', 'trash/old/view']) {
      await mkdir(join(world.snapshots, view), { recursive: true });
      bindMount(lower, join(world.snapshots, view));
    }
    await mkdir(join(world.snapshots, 'staging/dead/fs/x'), { recursive: true });
    await world.restart();
    await world.snapshotter.collect(new Set([top]));
    expect((await readdir(world.snapshots)).sort()).toEqual(['1', '2', '3', 'staging', 'trash']);
    expect(await world.leftovers()).toEqual([]);
    expect(await world.mounts()).toEqual([]);
    expect(describeTree(world.own('one'))).toEqual(before);
    expect(Object.keys(describeTree(lower))).toEqual(['.', 'b']);
    // A number is never used again.
    await world.snapshotter.prepare('two', top);
    expect(world.own('two')).toMatch(/\/1000\/fs$/);
  });

  test('makes the directory of a writable snapshot anew, and clears what overlayfs left in committed ones', async () => {
    const top = await world.chain([{ name: './', mode: 0o711 }, { name: 'a' }]);
    await world.snapshotter.prepare('one', top);
    await rm(join(world.own('one'), '..'), { recursive: true });
    await mkdir(join(world.own(top), '../work/work'), { recursive: true });
    await world.restart();
    expect(describeTree(world.own('one'))['.']).toMatch(/^directory 711/);
    expect(await readdir(join(world.own(top), '..'))).toEqual(['fs']);
    await writeFile(join(await world.mount('one'), 'new'), 'x');
  });

  test('forgets a committed snapshot whose files are gone, unless something stands on it', async () => {
    const base = await world.chain([{ name: 'base' }]);
    const lost = await world.chainOn(base, [{ name: 'lost' }]);
    const lostBelow = await world.chain([{ name: 'below' }]);
    const above = await world.chainOn(lostBelow, [{ name: 'above' }]);
    for (const name of [lost, lostBelow]) await rm(join(world.own(name), '..'), { recursive: true });
    await world.restart();
    expect(world.snapshotter.list().map(({ name }) => name)).toEqual([base, lostBelow, above]);
    await world.chainOn(base, [{ name: 'lost' }]);
    expect(existsSync(join(world.own(lost), 'lost'))).toBe(true);
  });

  test('repeats safely while snapshots are mounted', async () => {
    const top = await world.chain([{ name: 'a' }], [{ name: 'b' }]);
    await world.snapshotter.prepare('one', top);
    const target = await world.mount('one');
    await writeFile(join(target, 'mine'), 'x');
    await world.restart();
    await world.restart();
    expect((await readdir(target)).sort()).toEqual(['a', 'b', 'mine']);
    await writeFile(join(target, 'more'), 'x');
  });
});

describe('removal', () => {
  let world: SnapshotWorld;
  beforeEach(async () => {
    world = await SnapshotWorld.open();
  });
  afterEach(() => world[Symbol.asyncDispose]());

  test('takes directories nested deeper than a path can say, odd names and whiteouts', async () => {
    await world.snapshotter.prepare('deep', undefined);
    const script =
      'import os,sys\nos.chdir(sys.argv[1])\nfor i in range(1500):\n os.mkdir("x"*20); os.chdir("x"*20)\nopen(b"\\xff\\n","w")\n';
    await new Promise<void>((resolve, reject) => {
      execFile('python3', ['-c', script, world.own('deep')], (error) => (error ? reject(error) : resolve()));
    });
    expect((await world.snapshotter.usage('deep')).inodes).toBe(1502);
    await world.snapshotter.remove('deep');
    await world.snapshotter.collect(new Set());
    expect(await world.leftovers()).toEqual([]);
  });

  test('of a snapshot that is still mounted keeps the mount’s other layers whole', async () => {
    const top = await world.chain([{ name: 'a', data: 'a' }], [{ name: 'b' }]);
    await world.snapshotter.prepare('one', top);
    const target = await world.mount('one');
    await world.snapshotter.remove('one');
    await world.snapshotter.collect(new Set([top]));
    await world.snapshotter.unmount(target);
    expect(Object.keys(describeTree(world.own(top)))).toEqual(['.', 'b']);
  });
});
