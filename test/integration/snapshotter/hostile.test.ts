/** Archives that want out, want too much, or lie: refused, with nothing changed outside and nothing left inside. */

import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { ErrorKind } from '../../../src/base/errors.ts';
import type { UnpackLimits } from '../../../src/snapshotter/index.ts';
import { type Archive, describeTree, SnapshotWorld } from '../../fixtures/snapshot-world.ts';
import { makeTar, type TarItem } from '../../fixtures/tar-writer.ts';

const LIMITS: Partial<UnpackLimits> = {
  uncompressedBytesMax: 8 << 20,
  deviceNodesMax: 5,
  impliedDirectoriesMax: 50,
  entriesMax: 200,
};

let world: SnapshotWorld;
let outside = '';

beforeAll(async () => {
  world = await SnapshotWorld.open({ unpackLimits: LIMITS });
  outside = join(world.directory, 'outside');
  await mkdir(outside);
  await writeFile(join(outside, 'canary'), 'alive');
});
afterEach(() => world.snapshotter.collect(new Set()));
afterAll(() => world[Symbol.asyncDispose]());

const many = (count: number, item: (index: number) => TarItem) =>
  Array.from({ length: count }, (_, index) => item(index));
/** From a layer's root to the world's directory: `fs`, its number or staging ID, `staging`, `snapshots`, `root`. */
const UP = '../../../../..';

type Case = readonly [string, ErrorKind, (directory: string) => Archive];

const REFUSED: readonly Case[] = [
  ['a name that climbs', 'InvalidArgument', () => [{ name: `${UP}/outside/new`, data: 'x' }]],
  ['a name that climbs in its middle', 'InvalidArgument', () => [{ name: `a/${UP}/../outside/new`, data: 'x' }]],
  ['a directory that climbs', 'InvalidArgument', () => [{ name: `${UP}/outside/`, mode: 0o777 }]],
  ['a whiteout that climbs', 'InvalidArgument', () => [{ name: `${UP}/outside/.wh.canary` }]],
  ['a whiteout of its parent', 'InvalidArgument', () => [{ name: 'a/.wh...' }]],
  ['a long name that climbs', 'InvalidArgument', () => [{ name: 'x', data: 'x', pax: { path: `${UP}/outside/new` } }]],
  ['a name with a NUL in it', 'InvalidArgument', () => [{ name: 'x', data: 'x', pax: { path: 'a\0/../../b' } }]],
  [
    'a symlink that climbs, used as a directory',
    'InvalidArgument',
    () => [
      { name: 'up', linkTarget: UP },
      { name: 'up/outside/new', data: 'x' },
    ],
  ],
  [
    'two symlinks that climb together',
    'InvalidArgument',
    () => [
      { name: 'a/b/', mode: 0o755 },
      { name: 'a/b/up', linkTarget: '../..' },
      { name: 'a/b/out', linkTarget: `up/${UP}` },
      { name: 'a/b/out/outside/new', data: 'x' },
    ],
  ],
  [
    'a symlink to itself, used as a directory',
    'InvalidArgument',
    () => [{ name: 'loop', linkTarget: 'loop' }, { name: 'loop/x' }],
  ],
  [
    'a hard link to a name that climbs',
    'InvalidArgument',
    () => [{ name: 'x', type: '1', linkTarget: `${UP}/outside/canary` }],
  ],
  [
    'a hard link through a symlink that climbs',
    'InvalidArgument',
    () => [
      { name: 'up', linkTarget: UP },
      { name: 'x', type: '1', linkTarget: 'up/outside/canary' },
    ],
  ],
  ['a hard link to a directory', 'InvalidArgument', () => [{ name: 'd/' }, { name: 'x', type: '1', linkTarget: 'd' }]],
  ['a hard link to itself', 'InvalidArgument', () => [{ name: 'x', type: '1', linkTarget: './x' }]],
  [
    'a file used as a directory',
    'InvalidArgument',
    () => [
      { name: 'f', data: 'x' },
      { name: 'f/x', data: 'x' },
    ],
  ],
  [
    'a file in place of the root',
    'InvalidArgument',
    () => [{ name: './..//x/..', type: '0', pax: { path: '.' }, data: 'x' }],
  ],
  ['a symlink to nothing', 'InvalidArgument', () => [{ name: 'x', type: '2' }]],
  [
    'more device nodes than allowed',
    'InvalidArgument',
    () => many(6, (index) => ({ name: `d${index}`, type: '4', device: [8, index] })),
  ],
  ['a device that can not be', 'InvalidArgument', () => [{ name: 'd', type: '3', device: [70_000, 1] }]],
  ['more entries than allowed', 'InvalidArgument', () => many(201, (index) => ({ name: `f${index}` }))],
  [
    'more implied directories than allowed',
    'InvalidArgument',
    () => [{ name: 'x', pax: { path: `${'d/'.repeat(60)}f` } }],
  ],
  ['an owner that can not be', 'InvalidArgument', () => [{ name: 'x', pax: { uid: '4294967295' } }]],
  [
    'a file larger than any',
    'InvalidArgument',
    () => [{ name: 'x', pax: { 'GNU.sparse.size': '9007199254740991', 'GNU.sparse.numblocks': '0' } }],
  ],
  [
    'a capability that is none',
    'InvalidArgument',
    () => [{ name: 'x', pax: { 'SCHILY.xattr.security.capability': 'rubbish' } }],
  ],
  ['a decompression bomb', 'InvalidArgument', () => [{ name: 'zeroes', data: Buffer.alloc(9 << 20) }]],
  ['a size that promises too much', 'DataLoss', () => [{ name: 'x', data: 'x', statedSize: 1 << 30 }]],
  [
    'a gzip that ends early',
    'DataLoss',
    () => gzipSync(makeTar([{ name: 'x', data: Buffer.alloc(100_000, 1) }])).subarray(0, -30),
  ],
  ['a file that is no archive', 'DataLoss', () => Buffer.from('{"errors":[{"code":"UNAUTHORIZED"}]}'.repeat(50))],
  ['an archive in a format that is not known', 'InvalidArgument', () => Buffer.from('BZh91AY&SY')],
];

/** Entries before the bad one, so that there is something to leave behind. */
const GOOD: readonly TarItem[] = [
  { name: 'good/', mode: 0o755 },
  { name: 'good/file', data: 'x'.repeat(1000) },
];

describe('a hostile archive', () => {
  test.each(REFUSED)('%s is %s', async (_, kind, make) => {
    const archive = make(world.directory);
    const path = await world.file(Buffer.isBuffer(archive) ? archive : [...GOOD, ...archive]);
    const before = describeTree(outside);
    const staging = world.snapshotter.stageLayer({ path, algorithm: 'sha256' });
    await expect(staging).rejects.toMatchObject({ name: 'CairnError', kind });
    expect(describeTree(outside)).toEqual(before);
    expect(await world.leftovers()).toEqual([]);
    expect(world.snapshotter.list()).toEqual([]);
  });

  test('absolute names and absolute symlinks stay inside the layer', async () => {
    const top = await world.chain([
      { name: join('/', outside, 'canary'), data: 'dead' },
      { name: 'link', linkTarget: outside },
      { name: 'link/through', data: 'x' },
      { name: 'canary', linkTarget: join(outside, 'canary') },
      { name: 'canary', data: 'replaced, not followed' },
      { name: 'hard', type: '1', linkTarget: join('/', outside, 'canary') },
    ]);
    expect(Object.keys(describeTree(outside))).toEqual(['.', 'canary']);
    const own = world.own(top);
    expect(existsSync(join(own, outside, 'through'))).toBe(true);
    expect(describeTree(own)['canary']).toMatch(/^file/);
  });

  test('limits let through what is just within them', async () => {
    await world.chain([
      ...many(5, (index) => ({ name: `d${index}`, type: '4', device: [8, index] as const })),
      { name: 'x', pax: { path: `${'d/'.repeat(49)}f` } },
      { name: 'zeroes', data: Buffer.alloc(7 << 20) },
    ]);
  });
});

describe('what only the layers below can tell', () => {
  const base: Archive = [
    { name: 'etc/', mode: 0o755 },
    { name: 'up', linkTarget: UP },
    { name: 'abs', linkTarget: '/' },
    { name: 'd/', mode: 0o755 },
  ];
  test.each([
    ['a hard link to what is nowhere', [{ name: 'x', type: '1', linkTarget: 'etc/nothing' }]],
    ['a hard link to a directory below', [{ name: 'x', type: '1', linkTarget: 'd' }]],
    ['a hard link through a symlink below that climbs', [{ name: 'x', type: '1', linkTarget: 'up/outside/canary' }]],
    ['a path through a symlink below that climbs', [{ name: 'up/outside/new', data: 'x' }]],
  ] as readonly (readonly [string, Archive])[])('%s is refused at the commit', async (_, archive) => {
    const below = await world.chain(base);
    const before = describeTree(outside);
    const staged = await world.stage(archive);
    await expect(world.snapshotter.commitLayer(staged, staged.diffId, below)).rejects.toMatchObject({
      kind: 'InvalidArgument',
    });
    await world.snapshotter.collect(new Set([below]));
    expect(describeTree(outside)).toEqual(before);
    expect(await world.leftovers()).toEqual([]);
    expect(await world.mounts()).toEqual([]);
    expect(world.snapshotter.list()).toHaveLength(1);
  });
});
