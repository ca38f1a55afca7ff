/** What the contract promises of any snapshotter, seen through mounts of the real kernel. */

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { chmod, chown, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { fakeDigest, SnapshotWorld } from '../../fixtures/snapshot-world.ts';

let world: SnapshotWorld;
beforeEach(async () => {
  world = await SnapshotWorld.open();
});
afterEach(() => world[Symbol.asyncDispose]());

const base = [
  { name: './', mode: 0o755 },
  { name: 'etc/', mode: 0o755 },
  { name: 'etc/motd', data: 'welcome' },
];

describe('writable snapshots', () => {
  test('show the parent, take changes for themselves, and leave the parent as it is', async () => {
    const top = await world.chain(base);
    const info = await world.snapshotter.prepare('one', top);
    expect(info).toMatchObject({ name: 'one', kind: 'active', parent: top, usage: undefined });
    const target = await world.mount('one');
    expect(readFileSync(join(target, 'etc/motd'), 'utf8')).toBe('welcome');
    await writeFile(join(target, 'etc/motd'), 'changed');
    await world.snapshotter.prepare('two', top);
    expect(readFileSync(join(await world.mount('two'), 'etc/motd'), 'utf8')).toBe('welcome');
    expect(readFileSync(join(world.own('one'), 'etc/motd'), 'utf8')).toBe('changed');
  });

  test('without a parent are empty and writable', async () => {
    await world.snapshotter.prepare('empty', undefined);
    const target = await world.mount('empty');
    expect(await readdir(target)).toEqual([]);
    await writeFile(join(target, 'file'), 'x');
    expect(existsSync(join(world.own('empty'), 'file'))).toBe(true);
  });

  test('have the root directory of their parent: mode, owner and time', async () => {
    const top = await world.chain([{ name: './', mode: 0o1750, uid: 12, gid: 34, modificationSeconds: 99 }]);
    await world.snapshotter.prepare('one', top);
    const status = statSync(await world.mount('one'));
    expect([status.mode & 0o7777, status.uid, status.gid, status.mtimeMs]).toEqual([0o1750, 12, 34, 99_000]);
  });

  test('become committed, with usage, and then carry children', async () => {
    const top = await world.chain(base);
    await world.snapshotter.prepare('build', top);
    const target = await world.mount('build');
    await writeFile(join(target, 'new'), Buffer.alloc(100_000, 1));
    await rm(join(target, 'etc/motd'));
    await world.snapshotter.unmount(target);
    const info = await world.snapshotter.commit('build', 'built');
    expect(info).toMatchObject({ name: 'built', kind: 'committed', parent: top });
    expect(info.usage?.sizeBytes).toBeGreaterThan(100_000);
    expect(info.usage?.inodes).toBe(4);
    expect(world.snapshotter.stat('build')).toBeUndefined();
    expect(await readdir(join(world.own('built'), '..'))).toEqual(['fs']);
    await world.snapshotter.prepare('child', 'built');
    const child = await world.mount('child');
    expect(await readdir(join(child, 'etc'))).toEqual([]);
    expect(statSync(join(child, 'new')).size).toBe(100_000);
  });

  test('keep renames and changed modes of lower directories plain: an upper directory needs no other to be read', async () => {
    const top = await world.chain(base);
    await world.snapshotter.prepare('one', top);
    const target = await world.mount('one');
    await expect(rename(join(target, 'etc'), join(target, 'moved'))).rejects.toMatchObject({ code: 'EXDEV' });
    await chmod(join(target, 'etc/motd'), 0o600);
    await chown(join(target, 'etc/motd'), 3, 4);
    expect(readFileSync(join(world.own('one'), 'etc/motd'), 'utf8')).toBe('welcome');
  });
});

describe('views', () => {
  test.each([1, 2, 3])('on %d layers are read-only', async (count) => {
    const layers = Array.from({ length: count }, (_, index) => [{ name: `file-${index}`, data: `${index}` }]);
    const top = await world.chain(...layers);
    await world.snapshotter.prepare('view', top, { view: true });
    const target = await world.mount('view');
    expect((await readdir(target)).sort()).toEqual(layers.map((_, index) => `file-${index}`));
    expect(() => writeFileSync(join(target, 'x'), '')).toThrow(expect.objectContaining({ code: 'EROFS' }));
    await expect(world.snapshotter.commit('view', 'x')).rejects.toMatchObject({ kind: 'FailedPrecondition' });
  });

  test('on nothing are empty, and a committed snapshot can be looked at itself', async () => {
    await world.snapshotter.prepare('nothing', undefined, { view: true });
    expect(await readdir(await world.mount('nothing'))).toEqual([]);
    const top = await world.chain(base, [{ name: 'second' }]);
    const target = await world.mount(top);
    expect((await readdir(target)).sort()).toEqual(['etc', 'second']);
    expect(() => writeFileSync(join(target, 'x'), '')).toThrow(expect.objectContaining({ code: 'EROFS' }));
  });
});

describe('names and life cycle', () => {
  test('a name is taken once, a parent must be there and committed', async () => {
    const { snapshotter } = world;
    await snapshotter.prepare('one', undefined);
    await expect(snapshotter.prepare('one', undefined)).rejects.toMatchObject({ kind: 'AlreadyExists' });
    await expect(snapshotter.prepare('two', 'nobody')).rejects.toMatchObject({ kind: 'NotFound' });
    await expect(snapshotter.prepare('two', 'one')).rejects.toMatchObject({ kind: 'FailedPrecondition' });
    await expect(snapshotter.prepare('', undefined)).rejects.toMatchObject({ kind: 'InvalidArgument' });
    await expect(snapshotter.commit('nobody', 'x')).rejects.toMatchObject({ kind: 'NotFound' });
    await expect(snapshotter.mount('nobody', world.directory)).rejects.toMatchObject({ kind: 'NotFound' });
    await expect(snapshotter.usage('nobody')).rejects.toMatchObject({ kind: 'NotFound' });
    expect(() => snapshotter.mounts('nobody')).toThrow(expect.objectContaining({ kind: 'NotFound' }));
    await snapshotter.prepare('three', undefined);
    await expect(snapshotter.commit('three', 'one')).rejects.toMatchObject({ kind: 'AlreadyExists' });
    expect(snapshotter.list().map(({ name }) => name)).toEqual(['one', 'three']);
    expect(await readdir(world.snapshots)).toHaveLength(4);
  });

  test('of many that ask for one name at once, one gets it', async () => {
    const attempts = Array.from({ length: 8 }, () => world.snapshotter.prepare('one', undefined));
    const results = await Promise.allSettled(attempts);
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    expect(world.snapshotter.list()).toHaveLength(1);
  });

  test('a parent goes after its children, and what is gone is gone', async () => {
    const top = await world.chain(base);
    await world.snapshotter.prepare('child', top);
    await expect(world.snapshotter.remove(top)).rejects.toMatchObject({ kind: 'FailedPrecondition', message: /child/ });
    const own = world.own('child');
    await world.snapshotter.remove('child');
    await world.snapshotter.remove(top);
    await world.snapshotter.remove(top);
    expect(world.snapshotter.list()).toEqual([]);
    expect(existsSync(own)).toBe(false);
    expect(world.snapshotter.stat('child')).toBeUndefined();
  });

  test('a mount that fails says which snapshot and why, and unmounting twice is no error', async () => {
    await world.snapshotter.prepare('one', undefined);
    const target = join(world.directory, 'missing');
    await expect(world.snapshotter.mount('one', target)).rejects.toMatchObject({ message: /snapshot one .*ENOENT/s });
    await mkdir(target);
    await world.snapshotter.mount('one', target);
    await world.snapshotter.unmount(target);
    await world.snapshotter.unmount(target);
  });
});

describe('usage', () => {
  test('counts blocks and inodes of the snapshot alone, hard links once', async () => {
    const top = await world.chain([
      { name: 'a', data: Buffer.alloc(50_000, 1) },
      { name: 'b', type: '1', linkTarget: 'a' },
      { name: 'd/e/', mode: 0o755 },
    ]);
    const usage = await world.snapshotter.usage(top);
    expect(usage.inodes).toBe(4);
    expect(usage.sizeBytes).toBeGreaterThanOrEqual(50_000);
    expect(usage.sizeBytes).toBeLessThan(100_000);
    await world.snapshotter.prepare('one', top);
    expect((await world.snapshotter.usage('one')).inodes).toBe(1);
    await writeFile(join(await world.mount('one'), 'c'), Buffer.alloc(1 << 20, 1));
    expect((await world.snapshotter.usage('one')).sizeBytes).toBeGreaterThanOrEqual(1 << 20);
  });
});

describe('long chains', () => {
  // Docker makes no more than 127; before Linux 6.7 some 150 fit the one page of mount options.
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const count = major * 100 + minor >= 607 ? 200 : 128;
  test(`${count} layers mount, writable and as a view, and show every one of them`, async () => {
    const archives = Array.from({ length: count }, (_, index) => [
      { name: `layer-${index}`, data: `${index}` },
      { name: 'top', data: `${index}` },
    ]);
    const top = await world.chain(...archives);
    await world.snapshotter.prepare('one', top);
    const target = await world.mount('one');
    expect(await readdir(target)).toHaveLength(count + 1);
    expect(readFileSync(join(target, 'top'), 'utf8')).toBe(`${count - 1}`);
    await writeFile(join(target, 'new'), 'x');
    await world.snapshotter.prepare('view', top, { view: true });
    expect(await readdir(await world.mount('view'))).toHaveLength(count + 1);
  }, 120_000);
});

describe('collection', () => {
  test('takes what is neither used nor pinned nor below something that stays, init layers with their chain', async () => {
    const { snapshotter } = world;
    const below = await world.chain(base);
    const used = await world.chainOn(below, [{ name: 'used' }]);
    const unused = await world.chainOn(below, [{ name: 'unused' }], [{ name: 'on it' }]);
    const pinned = await world.chain([{ name: 'pinned' }]);
    const inUse = await world.chain([{ name: 'container' }]);
    await snapshotter.prepare('container', await snapshotter.ensureInitLayer(inUse));
    await snapshotter.ensureInitLayer(unused);
    const keptInit = await snapshotter.ensureInitLayer(used);
    const pin = snapshotter.pin([pinned, fakeDigest('a')]);
    const freed = await snapshotter.collect(new Set([used]));
    expect(freed).toBeGreaterThan(0);
    const left = () => snapshotter.list().map(({ name }) => name);
    expect(left()).toEqual([below, used, pinned, inUse, `init/${inUse}`, 'container', keptInit]);
    expect(await world.leftovers()).toEqual([]);
    pin[Symbol.dispose]();
    pin[Symbol.dispose]();
    await snapshotter.remove('container');
    await snapshotter.collect(new Set());
    expect(left()).toEqual([]);
    expect(await readdir(world.snapshots)).toEqual(['staging', 'trash']);
  });
});
