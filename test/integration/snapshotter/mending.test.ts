/**
 * Layers are unpacked without their parents; after the commit a container sees what it would have seen, had they been
 * unpacked one on top of the other.
 */

import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { getXattr } from '../../../src/linux/index.ts';
import { type Archive, describeTree, SnapshotWorld } from '../../fixtures/snapshot-world.ts';

let world: SnapshotWorld;
let names = 0;
beforeAll(async () => {
  world = await SnapshotWorld.open();
});
afterAll(() => world[Symbol.asyncDispose]());

/** What a container on these layers sees. */
async function seen(...archives: readonly Archive[]): Promise<string> {
  const name = `seen-${names++}`;
  await world.snapshotter.prepare(name, await world.chain(...archives));
  return world.mount(name);
}

describe('deletions', () => {
  const base: Archive = [
    { name: './', mode: 0o755 },
    { name: 'a/', mode: 0o711, modificationSeconds: 50 },
    { name: 'a/one', data: '1' },
    { name: 'a/two', data: '2' },
    { name: 'b/', mode: 0o755 },
    { name: 'b/deep/', mode: 0o755 },
    { name: 'b/deep/file', data: 'f' },
    { name: 'c', data: 'c' },
  ];

  test('a whiteout hides a file, a directory and a symlink of the layers below, and nothing else', async () => {
    const target = await seen(base, [{ name: 'a/.wh.one' }, { name: '.wh.b' }, { name: '.wh.nothing' }]);
    expect(Object.keys(describeTree(target))).toEqual(['.', 'a', 'a/two', 'c']);
    expect(describeTree(target)['a']).toMatch(/^directory 711 0:0 50000000000/);
  });

  test('an opaque directory hides all that was in it and keeps what this layer puts there, before or after', async () => {
    const target = await seen(base, [
      { name: 'a/', mode: 0o700 },
      { name: 'a/new' },
      { name: 'a/.wh..wh..opq' },
      { name: 'a/newer' },
    ]);
    expect(readdirSync(join(target, 'a'))).toEqual(['new', 'newer']);
    const implied = await seen(base, [{ name: 'b/.wh..wh..opq' }]);
    expect(readdirSync(join(implied, 'b'))).toEqual([]);
    expect(describeTree(implied)['b']).toMatch(/^directory 755/);
  });

  test('a whiteout and a directory of the same name in one layer make it opaque, in either order', async () => {
    const after = await seen(base, [{ name: '.wh.b' }, { name: 'b/new' }]);
    expect(readdirSync(join(after, 'b'))).toEqual(['new']);
    const before = await seen(base, [{ name: 'b/', mode: 0o700 }, { name: 'b/new' }, { name: '.wh.b' }]);
    expect(readdirSync(join(before, 'b'))).toEqual(['new']);
    const explicit = await seen(base, [{ name: '.wh.b' }, { name: 'b/', mode: 0o700 }]);
    expect(readdirSync(join(explicit, 'b'))).toEqual([]);
  });

  test('an opaque root hides all of the layers below', async () => {
    const target = await seen(base, [{ name: '.wh..wh..opq' }, { name: 'a/new', data: 'n' }, { name: 'other' }]);
    expect(Object.keys(describeTree(target))).toEqual(['.', 'a', 'a/new', 'other']);
  });

  test('overlayfs’s own whiteout, a device 0/0, is a whiteout', async () => {
    const target = await seen(base, [{ name: 'c', type: '3', device: [0, 0] }]);
    expect(readdirSync(target)).toEqual(['a', 'b']);
  });

  test('AUFS’s bookkeeping is skipped', async () => {
    const target = await seen([{ name: '.wh..wh.aufs' }, { name: '.wh..wh.plnk', type: '5' }, { name: 'x' }]);
    expect(readdirSync(target)).toEqual(['x']);
  });

  test('in the lowest layer there is nothing to hide, and nothing of it shows', async () => {
    const top = await world.chain([
      { name: '.wh.gone' },
      { name: 'd/.wh..wh..opq' },
      { name: 'd/e/.wh.gone' },
      { name: 'd/file', modificationSeconds: 7 },
    ]);
    expect(Object.keys(describeTree(world.own(top)))).toEqual(['.', 'd', 'd/e', 'd/file']);
    expect(getXattr(join(world.own(top), 'd'), 'trusted.overlay.opaque')).toBeUndefined();
  });
});

describe('directories without an entry', () => {
  const capability = Buffer.from('yes');
  const base: Archive = [
    { name: './', mode: 0o751, uid: 3, modificationSeconds: 11 },
    {
      name: 'srv/',
      mode: 0o1770,
      uid: 10,
      gid: 20,
      modificationSeconds: 22,
      pax: { 'SCHILY.xattr.user.x': capability },
    },
    { name: 'srv/data/', mode: 0o700, uid: 30, modificationSeconds: 33 },
  ];

  test('look as they do below, through several layers', async () => {
    const target = await seen(base, [{ name: 'other', data: 'o' }], [{ name: 'srv/data/deep/file', data: 'x' }]);
    const tree = describeTree(target);
    expect(tree['.']).toMatch(/^directory 751 3:0 11000000000/);
    expect(tree['srv']).toMatch(/^directory 1770 10:20 22000000000 user.x=796573/);
    expect(tree['srv/data']).toMatch(/^directory 700 30:0 33000000000/);
    expect(tree['srv/data/deep']).toMatch(/^directory 755 0:0 0$/);
    expect(tree['srv/data/deep/file']).toMatch(/^file 644/);
  });

  test('take nothing from a directory that this layer hides or replaces', async () => {
    const hidden = await seen(base, [{ name: '.wh.srv' }, { name: 'srv/data/file' }]);
    expect(describeTree(hidden)['srv']).toMatch(/^directory 755 0:0 0/);
    expect(describeTree(hidden)['srv/data']).toMatch(/^directory 755 0:0 0$/);
    const replaced = await seen([{ name: 'srv', data: 'a file' }], [{ name: 'srv/data/file' }]);
    expect(describeTree(replaced)['srv']).toMatch(/^directory 755 0:0 0/);
  });

  test('an entry of its own wins', async () => {
    const target = await seen(base, [{ name: 'srv/file' }, { name: 'srv/', mode: 0o705, modificationSeconds: 44 }]);
    expect(describeTree(target)['srv']).toMatch(/^directory 705 0:0 44000000000/);
  });
});

describe('symlinks below', () => {
  const base: Archive = [
    { name: 'usr/lib/', mode: 0o711, modificationSeconds: 5 },
    { name: 'usr/lib/old', data: 'old' },
    { name: 'lib', linkTarget: 'usr/lib' },
    { name: 'var/run', linkTarget: '/run' },
    { name: 'etc/alternatives', linkTarget: '../opt/alt' },
  ];

  test('what lies under their name goes to where they lead, also when that does not exist yet', async () => {
    const target = await seen(base, [
      { name: 'lib/new', data: 'new' },
      { name: 'lib/modules/deep/x', data: 'x' },
      { name: 'var/run/app.pid', data: '1' },
      { name: 'etc/alternatives/editor', linkTarget: '/bin/vi' },
    ]);
    const tree = describeTree(target);
    expect(tree['lib']).toMatch(/-> usr\/lib$/);
    expect(tree['var/run']).toMatch(/-> \/run$/);
    expect(Object.keys(tree)).toEqual(
      expect.arrayContaining(['usr/lib/old', 'usr/lib/new', 'usr/lib/modules/deep/x', 'run/app.pid', 'opt/alt/editor']),
    );
    expect(tree['usr/lib']).toMatch(/^directory 711 0:0 5000000000/);
  });

  test('are merged with what the layer has there itself', async () => {
    const target = await seen(base, [
      { name: 'usr/lib/', mode: 0o755, modificationSeconds: 9 },
      { name: 'usr/lib/own', data: 'own' },
      { name: 'usr/lib/both', data: 'first' },
      { name: 'usr/lib/sub/a', data: 'a' },
      { name: 'usr/lib/.wh.gone' },
      { name: 'lib/both', data: 'second' },
      { name: 'lib/sub/b', data: 'b' },
      { name: 'lib/.wh.old' },
      { name: 'lib/gone', data: 'back' },
    ]);
    const tree = describeTree(target);
    expect(Object.keys(tree).filter((name) => name.startsWith('usr/lib'))).toEqual([
      'usr/lib',
      'usr/lib/both',
      'usr/lib/gone',
      'usr/lib/own',
      'usr/lib/sub',
      'usr/lib/sub/a',
      'usr/lib/sub/b',
    ]);
    expect(readFileSync(join(target, 'lib/both'), 'utf8')).toBe('second');
    expect(tree['usr/lib']).toMatch(/^directory 755 0:0 9000000000/);
  });

  test('are replaced by a directory that has an entry', async () => {
    const target = await seen(base, [
      { name: 'lib/', mode: 0o755 },
      { name: 'lib/new', data: 'new' },
    ]);
    expect(readdirSync(join(target, 'lib'))).toEqual(['new']);
    expect(lstatSync(join(target, 'lib')).isDirectory()).toBe(true);
    expect(readdirSync(join(target, 'usr/lib'))).toEqual(['old']);
  });
});

describe('hard links to files below', () => {
  const base: Archive = [
    { name: 'bin/', mode: 0o755, modificationSeconds: 5 },
    {
      name: 'bin/tool',
      data: 'tool',
      mode: 0o4755,
      uid: 3,
      modificationSeconds: 6,
      pax: { 'SCHILY.xattr.user.x': 'y' },
    },
    { name: 'bin/sym', linkTarget: 'tool' },
    { name: 'sbin', linkTarget: 'bin' },
    { name: 'secret/', mode: 0o700, uid: 9, modificationSeconds: 8 },
    { name: 'secret/file', data: 's' },
  ];
  const same = { mode: 0o4755, uid: 3, modificationSeconds: 6 };

  test('share the file, with all that belongs to it, and keep times around them', async () => {
    const top = await world.chain(base, [
      { name: 'bin/', mode: 0o755, modificationSeconds: 77 },
      { name: 'bin/again', type: '1', linkTarget: 'bin/tool', ...same },
      { name: 'bin/third', type: '1', linkTarget: 'bin/again', ...same },
      { name: 'through', type: '1', linkTarget: 'sbin/tool', ...same },
      { name: 'symlinked', type: '1', linkTarget: 'bin/sym' },
      { name: 'revealed', type: '1', linkTarget: 'secret/file' },
    ]);
    await world.snapshotter.prepare(`${top}-container`, top);
    const tree = describeTree(await world.mount(`${top}-container`));
    for (const name of ['bin/third', 'bin/tool', 'through'])
      expect(tree[name]).toMatch(/^file 4755 3:0 6000000000 4 bytes \w+ same as bin\/again user.x=79/);
    expect(tree['symlinked']).toMatch(/^symlink .* -> tool same as bin\/sym/);
    expect(tree['revealed']).toMatch(/^file 644 .*/);
    expect(tree['bin']).toMatch(/^directory 755 0:0 77000000000/);
    expect(tree['secret']).toMatch(/^directory 700 9:0 8000000000/);
    expect(describeTree(world.own(top))['bin/tool']).toMatch(/^file 4755 3:0/);
  });

  test('mean the file below, also when the layer then deletes or replaces that', async () => {
    const renamed = await seen(base, [
      { name: 'bin/moved', type: '1', linkTarget: 'bin/tool', ...same },
      { name: 'bin/.wh.tool' },
    ]);
    expect(readdirSync(join(renamed, 'bin'))).toEqual(['moved', 'sym']);
    expect(readFileSync(join(renamed, 'bin/moved'), 'utf8')).toBe('tool');
    const replaced = await seen(base, [
      { name: 'kept', type: '1', linkTarget: 'bin/tool', ...same },
      { name: 'bin/tool', data: 'newer' },
    ]);
    expect(readFileSync(join(replaced, 'kept'), 'utf8')).toBe('tool');
    expect(readFileSync(join(replaced, 'bin/tool'), 'utf8')).toBe('newer');
  });

  test('are given up when a later entry takes their name', async () => {
    const target = await seen(base, [
      { name: 'x', type: '1', linkTarget: 'bin/tool' },
      { name: 'x', data: 'file' },
    ]);
    expect(readFileSync(join(target, 'x'), 'utf8')).toBe('file');
  });

  test('keep the holes of a file', async () => {
    const pax = { 'GNU.sparse.size': `${1 << 30}`, 'GNU.sparse.map': '0,4' };
    const top = await world.chain(
      [{ name: 'sparse', data: 'data', pax }],
      [{ name: 'link', type: '1', linkTarget: 'sparse' }],
    );
    expect(lstatSync(join(world.own(top), 'link')).size).toBe(1 << 30);
    // The kernel copies up in pieces of a mebibyte.
    expect((await world.snapshotter.usage(top)).sizeBytes).toBeLessThan(2 << 20);
  });

  test('to something that only this layer’s symlink leads to are found there', async () => {
    const target = await seen(
      [
        { name: 'usr/lib/', mode: 0o755 },
        { name: 'lib', linkTarget: 'usr/lib' },
      ],
      [
        { name: 'lib/file', data: 'f' },
        { name: 'link', type: '1', linkTarget: 'usr/lib/file' },
      ],
    );
    expect(readFileSync(join(target, 'link'), 'utf8')).toBe('f');
    expect(lstatSync(join(target, 'link')).ino).toBe(lstatSync(join(target, 'usr/lib/file')).ino);
  });
});

describe('committing', () => {
  test('the same layer by many at once happens once, and the others find it', async () => {
    const base = await world.chain([{ name: 'base', data: 'b' }]);
    const staged = await Promise.all(Array.from({ length: 4 }, () => world.stage([{ name: 'shared', data: 's' }])));
    const [id] = staged.map((layer) => layer.diffId);
    if (!id) throw new Error('nothing staged');
    const infos = await Promise.all(staged.map((layer) => world.snapshotter.commitLayer(layer, id, base)));
    expect(new Set(infos.map(({ createdAtNs }) => createdAtNs)).size).toBe(1);
    await world.snapshotter.collect(new Set([id]));
    expect(await world.leftovers()).toEqual([]);
    expect(readdirSync(world.snapshots).length - 2).toBe(world.snapshotter.list().length);
  });

  test('on a parent that is not there is NotFound and leaves nothing', async () => {
    const staged = await world.stage([{ name: 'x' }]);
    const missing = await world.stage([{ name: 'y' }]);
    await expect(world.snapshotter.commitLayer(staged, staged.diffId, missing.diffId)).rejects.toMatchObject({
      kind: 'NotFound',
    });
    await missing[Symbol.asyncDispose]();
    await world.snapshotter.collect(new Set());
    expect(await world.leftovers()).toEqual([]);
  });
});

describe('the init layer', () => {
  const image: Archive = [
    { name: './', mode: 0o755, modificationSeconds: 3 },
    { name: 'etc/', mode: 0o750, gid: 5, modificationSeconds: 4 },
    { name: 'etc/hostname', data: 'from the image\n', mode: 0o600 },
    { name: 'etc/resolv.conf', linkTarget: '../run/resolv.conf' },
    { name: 'proc', linkTarget: 'elsewhere' },
  ];

  test('holds the mount points that the image lacks, in directories that look like the image’s', async () => {
    const top = await world.chain(image, [{ name: 'second' }]);
    const name = await world.snapshotter.ensureInitLayer(top);
    expect(await world.snapshotter.ensureInitLayer(top)).toBe(name);
    expect(world.snapshotter.stat(name)).toMatchObject({ kind: 'committed', parent: top });
    const tree = describeTree(world.own(name));
    expect(Object.keys(tree)).toEqual(['.', 'dev', 'etc', 'etc/hosts', 'etc/mtab', 'sys']);
    expect(tree['.']).toMatch(/^directory 755 0:0 3000000000/);
    expect(tree['etc']).toMatch(/^directory 750 0:5 4000000000/);
    expect(tree['etc/hosts']).toMatch(/^file 644 0:0 0 0 bytes/);
    expect(tree['etc/mtab']).toMatch(/-> \/proc\/mounts$/);
  });

  test('never shows up in a container’s own layer, and shows the image’s own files as they are', async () => {
    const top = await world.chain(image);
    await world.snapshotter.prepare('container', await world.snapshotter.ensureInitLayer(top));
    const target = await world.mount('container');
    expect(readFileSync(join(target, 'etc/hostname'), 'utf8')).toBe('from the image\n');
    await writeFile(join(target, 'mine'), 'x');
    expect(Object.keys(describeTree(world.own('container')))).toEqual(['.', 'mine']);
  });

  test('follows no symlink of the image, and stands on nothing as well', async () => {
    const linked = await world.chain([
      { name: 'etc', linkTarget: 'usr/etc' },
      { name: 'usr/etc/', mode: 0o755 },
      { name: 'dev', data: 'odd' },
    ]);
    expect(Object.keys(describeTree(world.own(await world.snapshotter.ensureInitLayer(linked))))).toEqual([
      '.',
      'proc',
      'sys',
    ]);
    const bare = await world.snapshotter.ensureInitLayer(undefined);
    expect(Object.keys(describeTree(world.own(bare)))).toEqual([
      '.',
      'dev',
      'etc',
      'etc/hostname',
      'etc/hosts',
      'etc/mtab',
      'etc/resolv.conf',
      'proc',
      'sys',
    ]);
  });

  test('is made once, however many ask', async () => {
    const top = await world.chain([{ name: 'unique', data: 'init' }]);
    const made = await Promise.all(Array.from({ length: 5 }, () => world.snapshotter.ensureInitLayer(top)));
    expect(new Set(made).size).toBe(1);
    expect(world.snapshotter.list().filter(({ name }) => name === made[0])).toHaveLength(1);
  });
});
