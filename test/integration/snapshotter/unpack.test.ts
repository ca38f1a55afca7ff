/** What an archive says is what lies on disk: compared with GNU tar, and in the cases where layers differ from tar. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  constants,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { GrowingFileWriter } from '../../../src/base/growing-file.ts';
import { lchown, makedev, mkfifo, mknod, setTimes, setXattr } from '../../../src/linux/index.ts';
import { describeTree, SnapshotWorld } from '../../fixtures/snapshot-world.ts';
import { gnuLong, makeTar } from '../../fixtures/tar-writer.ts';

/** VFS_CAP_REVISION_2, effective, cap_net_raw permitted: what setcap writes. */
const CAPABILITY = Buffer.from('0100000200200000000000000000000000000000', 'hex');

let world: SnapshotWorld;
beforeAll(async () => {
  world = await SnapshotWorld.open();
});
afterAll(() => world[Symbol.asyncDispose]());

/** One of everything that a file system can hold. */
function makeSource(directory: string): void {
  const at = (name: string) => join(directory, name);
  const deep = `${'long'.repeat(30)}/${'name'.repeat(30)}`;
  for (const name of ['bin', 'tmp', 'secret', 'setgid', deep]) mkdirSync(at(name), { recursive: true });
  writeFileSync(at('bin/su'), 'setuid program');
  writeFileSync(at('bin/ping'), 'capable program');
  writeFileSync(at('empty'), '');
  writeFileSync(at('binary'), Buffer.from(Array.from({ length: 70_000 }, (_, index) => index % 251)));
  writeFileSync(at(`${deep}/file`), 'deep');
  writeFileSync(at('spaß und Tränen\n'), 'not ASCII');
  linkSync(at('binary'), at('tmp/linked'));
  linkSync(at('binary'), at('zz-linked'));
  symlinkSync('/etc/passwd', at('absolute'));
  symlinkSync(`../${deep}/file`, at('bin/relative'));
  symlinkSync('nowhere', at('dangling'));
  linkSync(at('dangling'), at('dangling-linked'));
  mkfifo(at('fifo'), 0o622);
  mknod(at('null'), constants.S_IFCHR | 0o666, makedev(1, 3));
  mknod(at('disk'), constants.S_IFBLK | 0o660, makedev(259, 300));
  mknod(at('unusual'), constants.S_IFCHR | 0o600, makedev(4095, 0xfffff));
  writeFileSync(at('sparse'), 'begin');
  truncateSync(at('sparse'), 50 << 20);
  lchown(at('secret'), 1000, 1001);
  lchown(at('absolute'), 7, 8);
  lchown(at('bin/su'), 0, 4_000_000_000);
  execFileSync('chmod', ['4755', at('bin/su')]);
  execFileSync('chmod', ['1777', at('tmp')]);
  execFileSync('chmod', ['2755', at('setgid')]);
  execFileSync('chmod', ['0700', at('secret')]);
  setXattr(at('bin/ping'), 'security.capability', CAPABILITY);
  setXattr(at('bin/ping'), 'user.comment', Buffer.from([0, 1, 2, 255]));
  setXattr(at('tmp'), 'user.on-directory', Buffer.from('yes'));
  setXattr(at('absolute'), 'trusted.on-symlink', Buffer.from('yes'));
  utimesSync(at('binary'), 1_500_000_000.123, 1_500_000_000.987);
  setTimes(at('absolute'), 5n, 1_234_567_890_123_456_789n);
  setTimes(at('empty'), 5n, -86_400_000_000_001n);
  for (const name of ['tmp', 'secret', 'bin']) setTimes(at(name), 5n, 1_111_111_111_222_222_222n);
}

describe('fidelity', () => {
  test.each([
    ['posix', 'gzip', ['--sparse', '--xattrs', '--xattrs-include=*']],
    ['posix', 'zstd', []],
    ['gnu', 'none', ['--sparse']],
  ] as const)('GNU tar --format=%s, %s: the same tree as tar itself makes', async (format, compression, options) => {
    const source = join(world.directory, `source-${format}-${compression}`);
    mkdirSync(source);
    makeSource(source);
    const tarFile = `${source}.tar`;
    execFileSync('tar', ['-c', `--format=${format}`, ...options, '--numeric-owner', '-C', source, '-f', tarFile, '.']);
    const reference = `${source}.reference`;
    mkdirSync(reference);
    execFileSync('tar', [
      '-x',
      '-p',
      '--same-owner',
      '--numeric-owner',
      ...options.filter((option) => option.startsWith('--xattrs')),
      '-C',
      reference,
      '-f',
      tarFile,
    ]);
    const tar = readFileSync(tarFile);
    const blob = compression === 'gzip' ? gzipSync(tar) : compression === 'zstd' ? zstdCompressSync(tar) : tar;
    const staged = await world.stage(blob);
    expect(staged.diffId).toBe(`sha256:${createHash('sha256').update(tar).digest('hex')}`);
    expect(staged.blob).toEqual({
      digest: `sha256:${createHash('sha256').update(blob).digest('hex')}`,
      sizeBytes: blob.length,
    });
    await world.snapshotter.commitLayer(staged, staged.diffId, undefined);
    const own = world.own(staged.diffId);
    const tree = describeTree(own);
    expect(tree).toEqual(describeTree(reference));
    expect(Object.keys(tree).length).toBeGreaterThan(20);
    if (format === 'posix' && compression === 'gzip') expect(tree).toEqual(describeTree(source));
    if (options.some((option) => option === '--sparse'))
      expect(lstatSync(join(own, 'sparse')).blocks).toBeLessThan(100);
  });

  test('names of any bytes, and xattrs in libarchive’s spelling', async () => {
    const name = Buffer.from([0x6e, 0xff, 0xfe, 0x65]);
    const top = await world.chain([
      { name, data: 'x', pax: { 'LIBARCHIVE.xattr.user.b': Buffer.from('value').toString('base64') } },
      { name: 'link', linkTarget: name },
    ]);
    expect(readdirSync(world.own(top), { encoding: 'buffer' })).toContainEqual(name);
    expect(Object.values(describeTree(world.own(top))).join()).toContain(
      `user.b=${Buffer.from('value').toString('hex')}`,
    );
  });

  test('times are those of the archive in directories too, wherever their entry stands', async () => {
    const top = await world.chain([
      { name: 'a/b/', modificationSeconds: 100 },
      { name: 'a/b/c', data: 'x', modificationSeconds: 200 },
      { name: 'a/', modificationSeconds: 300 },
      { name: 'a/d', data: 'x' },
      { name: './', modificationSeconds: 400 },
    ]);
    const own = world.own(top);
    const seconds = ['a/b', 'a/b/c', 'a', '.'].map((name) => lstatSync(join(own, name)).mtimeMs / 1000);
    expect(seconds).toEqual([100, 200, 300, 400]);
  });

  test('attributes that belong to the host or to overlayfs are dropped', async () => {
    const top = await world.chain([
      {
        name: 'd/',
        pax: {
          'SCHILY.xattr.trusted.overlay.opaque': 'y',
          'SCHILY.xattr.trusted.overlay.redirect': '/etc',
          'SCHILY.xattr.security.selinux': 'label',
          'SCHILY.xattr.user.kept': 'x',
          'SCHILY.xattr.trusted.kept': 'y',
        },
      },
    ]);
    expect(describeTree(world.own(top))['d']).toMatch(/trusted.kept=79 user.kept=78$/);
  });

  test('an unpacked layer does not depend on the umask', async () => {
    const umask = process.umask(0o077);
    try {
      const top = await world.chain([
        { name: 'implied/d/', mode: 0o777 },
        { name: 'implied/f', mode: 0o666 },
      ]);
      const tree = describeTree(world.own(top));
      expect([tree['implied'], tree['implied/d'], tree['implied/f']].map((line) => line?.split(' ')[1])).toEqual([
        '755',
        '777',
        '666',
      ]);
    } finally {
      process.umask(umask);
    }
  });
});

describe('the last entry of a name counts', () => {
  const file = { name: 'x', data: 'file' };
  const directory = { name: 'x/', mode: 0o711 };
  const symlink = { name: 'x', linkTarget: 'target/' };
  const fifo = { name: 'x', type: '6' };
  const link = { name: 'x', type: '1', linkTarget: 'other' };
  const below = { name: 'x/below', data: 'b' };
  const other = { name: 'other', data: 'o' };

  test.each([
    ['a file over a file', [{ name: 'x', data: 'longer than the second' }, file], 'file 644'],
    ['a file over a directory', [directory, below, file], 'file 644'],
    ['a directory over a file', [file, directory], 'directory 711'],
    ['a symlink over a directory', [directory, below, symlink], 'symlink'],
    ['a directory over a symlink', [symlink, directory], 'directory 711'],
    ['a fifo over a file', [file, fifo], 'fifo'],
    ['a hard link over a directory', [other, directory, below, link], 'file 644'],
    ['a file over a whiteout', [{ name: '.wh.x' }, file], 'file 644'],
    ['a whiteout does not hide its own layer', [file, { name: '.wh.x' }], 'file 644'],
  ])('%s', async (_, entries, expected) => {
    const tree = describeTree(world.own(await world.chain(entries)));
    expect(tree['x']).toMatch(new RegExp(`^${expected}`));
    if (expected !== 'directory 711') expect(tree['x/below']).toBeUndefined();
  });

  test('a directory over a directory keeps what is in it', async () => {
    const tree = describeTree(world.own(await world.chain([below, directory])));
    expect(tree['x']).toMatch(/^directory 711/);
    expect(tree['x/below']).toMatch(/^file/);
  });

  test('replacing a directory that was just used does not write through to its old place', async () => {
    const tree = describeTree(
      world.own(
        await world.chain([
          { name: 'a/', mode: 0o755 },
          { name: 'a/one', data: '1' },
          { name: 'a', linkTarget: 'b' },
          { name: 'b/', mode: 0o755 },
          { name: 'a/two', data: '2' },
          { name: 'a/', mode: 0o700 },
          { name: 'a/three', data: '3' },
        ]),
      ),
    );
    expect(Object.keys(tree)).toEqual(['.', 'a', 'a/three', 'b', 'b/two']);
  });
});

describe('paths through symlinks of the layer', () => {
  test('lead to where they point, with the layer as root', async () => {
    const top = await world.chain([
      { name: 'usr/lib/', mode: 0o755 },
      { name: 'lib', linkTarget: 'usr/lib' },
      { name: 'lib/relative', data: '1' },
      { name: 'abs', linkTarget: '/usr/lib' },
      { name: 'abs/absolute', data: '2' },
      { name: 'usr/up', linkTarget: '../opt/deep' },
      { name: 'usr/up/made', data: '3' },
      { name: 'chain', linkTarget: 'abs' },
      { name: 'chain/linked', type: '1', linkTarget: 'lib/relative' },
    ]);
    const tree = describeTree(world.own(top));
    expect(Object.keys(tree).sort()).toEqual(
      [
        '.',
        'abs',
        'chain',
        'lib',
        'opt',
        'opt/deep',
        'opt/deep/made',
        'usr',
        'usr/lib',
        'usr/lib/absolute',
        'usr/lib/linked',
        'usr/lib/relative',
        'usr/up',
      ].sort(),
    );
    expect(tree['usr/lib/relative']).toContain('same as usr/lib/linked');
  });
});

describe('a layer that is still being downloaded', () => {
  test('is unpacked while it grows; cancelling or abandoning it leaves nothing', async () => {
    const archive = gzipSync(
      makeTar(Array.from({ length: 300 }, (_, index) => ({ name: `f${index}`, data: Buffer.alloc(5000, index) }))),
    );
    const path = join(world.directory, 'growing');
    await writeFile(path, '');
    const writer = new GrowingFileWriter();
    const staging = world.snapshotter.stageLayer({ path, algorithm: 'sha256', progress: writer.shared });
    await using file = await open(path, 'a');
    for (let at = 0; at < archive.length; at += 1000) {
      await file.write(archive.subarray(at, at + 1000));
      writer.publish(Math.min(at + 1000, archive.length));
    }
    writer.complete();
    await using staged = await staging;
    expect(staged.usage.inodes).toBe(301);

    const abandoned = new GrowingFileWriter();
    abandoned.publish(500);
    const failing = world.snapshotter.stageLayer({ path, algorithm: 'sha256', progress: abandoned.shared });
    const controller = new AbortController();
    const idle = new GrowingFileWriter();
    const cancelled = world.snapshotter.stageLayer(
      { path, algorithm: 'sha256', progress: idle.shared },
      controller.signal,
    );
    setTimeout(() => {
      abandoned.abandon();
      controller.abort();
    }, 50);
    await expect(failing).rejects.toMatchObject({ kind: 'Aborted' });
    await expect(cancelled).rejects.toMatchObject({ kind: 'Cancelled' });
    expect((await world.leftovers()).filter((path) => path.startsWith('staging/'))).toEqual([`staging/${staged.id}`]);
  });

  test('a staged layer that is not committed goes when it is disposed of', async () => {
    {
      await using staged = await world.stage([{ name: 'a' }]);
      expect(await world.leftovers()).toContain(`staging/${staged.id}`);
    }
    await world.snapshotter.collect(new Set());
    expect(await world.leftovers()).toEqual([]);
  });

  test('an empty archive is an empty layer', async () => {
    const staged = await world.stage(Buffer.alloc(0));
    expect(staged.usage.inodes).toBe(1);
    await world.snapshotter.commitLayer(staged, staged.diffId, undefined);
  });

  test('GNU long names beyond 100 bytes unpack', async () => {
    const long = `${'d'.repeat(200)}/${'f'.repeat(200)}`;
    const top = await world.chain([gnuLong('L', long), { name: 'x', data: 'y', magic: 'gnu' }]);
    expect(readFileSync(join(world.own(top), long), 'utf8')).toBe('y');
  });
});
