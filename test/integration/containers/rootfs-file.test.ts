/** Reading a file of a root filesystem that a stranger filled. */
import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { readRootfsFile } from '../../../src/containers/spec/rootfs-file.ts';
import { mkfifo } from '../../../src/linux/index.ts';
import { type TemporaryDirectory, temporaryDirectory } from '../../fixtures/temporary-directory.ts';

let directory: TemporaryDirectory;
let root: string;
beforeEach(async () => {
  directory = await temporaryDirectory('rootfs-file');
  root = join(directory.path, 'root');
  await mkdir(join(root, 'etc'), { recursive: true });
  await writeFile(join(directory.path, 'secret'), 'of the host');
});
afterEach(async () => directory[Symbol.asyncDispose]());

const read = () => readRootfsFile(root, '/etc/passwd', 1024);

test('a regular file is read, a missing one is empty', async () => {
  expect(await read()).toBe('');
  await writeFile(join(root, 'etc/passwd'), 'content');
  expect(await read()).toBe('content');
});

test('symlinks, absolute and relative, stay inside the root', async () => {
  await writeFile(join(root, 'users'), 'inside');
  await symlink('/users', join(root, 'etc/passwd'));
  expect(await read()).toBe('inside');
});

test.each(['/../../secret', '../../../../secret', '/proc/self/environ'])(
  'a symlink to %s finds nothing',
  async (target) => {
    await symlink(target, join(root, 'etc/passwd'));
    expect(await read()).toBe('');
  },
);

test('a directory symlink out of the root finds nothing', async () => {
  root = join(directory.path, 'other');
  await mkdir(root);
  await symlink(directory.path, join(root, 'etc'));
  await writeFile(join(directory.path, 'passwd'), 'of the host');
  expect(await read()).toBe('');
});

test('a FIFO, a directory, a loop and a huge file are refused without waiting', async () => {
  const path = join(root, 'etc/passwd');
  const refused = { kind: 'InvalidArgument' };
  mkfifo(path, 0o644);
  await expect(read()).rejects.toMatchObject(refused);
  await expect(readRootfsFile(root, '/etc', 1024)).rejects.toMatchObject(refused);
  await symlink('loop', join(root, 'etc/loop'));
  await expect(readRootfsFile(root, '/etc/loop', 1024)).rejects.toMatchObject(refused);
  await writeFile(join(root, 'etc/big'), '');
  await truncate(join(root, 'etc/big'), 1 << 30);
  await expect(readRootfsFile(root, '/etc/big', 1024)).rejects.toMatchObject(refused);
});
