import { execFileSync } from 'node:child_process';
import {
  constants,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { lstat, mkdir, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  AT_FDCWD,
  closeDescriptor,
  descriptorPath,
  deviceNumbers,
  fchmodat,
  fchownat,
  getXattr,
  lchown,
  linkat,
  listXattrs,
  makedev,
  mkdirat,
  mkfifo,
  mknod,
  mknodat,
  O_DIRECTORY,
  O_PATH,
  openat,
  openat2,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  readlinkat,
  removeXattr,
  renameat,
  setTimes,
  setXattr,
  statusAt,
  symlinkat,
  unlinkat,
  utimensat,
} from '../../../src/linux/index.ts';

let directory: string;
let root: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cairn-files-'));
  root = openat(AT_FDCWD, directory, O_PATH | O_DIRECTORY);
});

afterEach(() => {
  closeDescriptor(root);
  rmSync(directory, { recursive: true });
});

describe('extended attributes', () => {
  test('are set, listed, read and removed, empty and binary values too', () => {
    const path = join(directory, 'file');
    writeFileSync(path, '');
    const value = Buffer.from([0, 1, 255, 0]);
    setXattr(path, 'user.binary', value);
    setXattr(path, 'trusted.overlay.opaque', Buffer.from('y'));
    setXattr(path, 'user.empty', Buffer.alloc(0));
    expect(listXattrs(path).sort()).toEqual(['trusted.overlay.opaque', 'user.binary', 'user.empty']);
    expect(getXattr(path, 'user.binary')).toEqual(value);
    expect(getXattr(path, 'user.empty')).toEqual(Buffer.alloc(0));
    expect(getXattr(path, 'user.none')).toBeUndefined();
    expect(removeXattr(path, 'user.binary')).toBe(true);
    expect(removeXattr(path, 'user.binary')).toBe(false);
    expect(() => getXattr(join(directory, 'none'), 'user.x')).toThrow('ENOENT');
  });

  test('belong to a symlink itself', () => {
    const path = join(directory, 'link');
    writeFileSync(join(directory, 'file'), '');
    symlinkSync('file', path);
    setXattr(path, 'trusted.x', Buffer.from('1'));
    expect(listXattrs(join(directory, 'file'))).toEqual([]);
    expect(getXattr(descriptorPath(root, 'link'), 'trusted.x')?.toString()).toBe('1');
  });

  test('a value as large as the kernel allows comes back whole', () => {
    const path = '/dev/shm';
    const file = join(path, `cairn-xattr-${process.pid}`);
    writeFileSync(file, '');
    try {
      const value = Buffer.alloc(65536, 7);
      setXattr(file, 'trusted.large', value);
      expect(getXattr(file, 'trusted.large')).toEqual(value);
    } finally {
      rmSync(file);
    }
  });
});

describe('nodes, owners and times', () => {
  test('a whiteout is a character device 0/0', () => {
    const path = join(directory, 'whiteout');
    mknod(path, constants.S_IFCHR, makedev(0, 0));
    expect(statSync(path).isCharacterDevice()).toBe(true);
    expect(statSync(path).rdev).toBe(0);
  });

  test('device numbers beyond eight bits survive', () => {
    const path = join(directory, 'device');
    mknod(path, constants.S_IFBLK | 0o640, makedev(259, 70000));
    expect(execFileSync('stat', ['-c', '%t %T', path], { encoding: 'utf8' }).trim()).toBe('103 11170');
    const { device, mode } = statusAt(root, 'device');
    expect(deviceNumbers(device)).toEqual({ major: 259, minor: 70000 });
    expect(mode & constants.S_IFMT).toBe(constants.S_IFBLK);
  });

  test('a FIFO, and the owner and times of a symlink itself', async () => {
    const path = join(directory, 'link');
    mkfifo(join(directory, 'fifo'), 0o600);
    expect(statSync(join(directory, 'fifo')).isFIFO()).toBe(true);
    writeFileSync(join(directory, 'file'), '');
    symlinkSync('file', path);
    lchown(path, 1234, 4294967294);
    setTimes(path, 1_000_000_000_123_456_789n, -1n);
    const status = statusAt(AT_FDCWD, path);
    expect(status).toMatchObject({
      uid: 1234,
      gid: 4294967294,
      accessNs: 1_000_000_000_123_456_789n,
      modificationNs: -1n,
    });
    expect((await lstat(join(directory, 'file'))).uid).toBe(0);
  });
});

describe('calls relative to a directory', () => {
  test('make, link, rename, describe and remove entries, whatever bytes their names hold', async () => {
    const name = Buffer.from([0x66, 0xff, 0xfe]);
    mkdirat(root, name, 0o700);
    const inner = openat(root, name, O_PATH | O_DIRECTORY);
    const file = openat(inner, 'a', constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY, 0o600);
    writeSync(file, 'text');
    closeDescriptor(file);
    linkat(inner, 'a', inner, 'b');
    symlinkat('b', inner, 'c');
    linkat(inner, 'c', inner, 'link to the link');
    expect(readlinkat(inner, 'link to the link').toString()).toBe('b');
    renameat(inner, 'a', root, 'moved');
    fchownat(root, 'moved', 7, 8);
    fchmodat(root, 'moved', 0o4755);
    utimensat(root, 'moved', 5n, 1_500_000_000n);
    mknodat(root, 'null', constants.S_IFCHR | 0o666, makedev(1, 3));
    expect(statusAt(root, 'moved')).toMatchObject({
      mode: constants.S_IFREG | 0o4755,
      uid: 7,
      gid: 8,
      links: 2,
      sizeBytes: 4n,
      accessNs: 5n,
      modificationNs: 1_500_000_000n,
    });
    expect(statusAt(inner, '').inode).toBe(statusAt(root, name).inode);
    expect(readFileSync(join(directory, 'moved'), 'utf8')).toBe('text');
    for (const entry of ['b', 'c', 'link to the link']) unlinkat(inner, entry);
    closeDescriptor(inner);
    unlinkat(root, name, { directory: true });
    expect((await readdir(directory)).sort()).toEqual(['moved', 'null']);
    expect(() => mkdirat(root, 'moved', 0o700)).toThrow(/EEXIST.*moved/);
  });

  test('descriptors are close-on-exec', () => {
    const flags = /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${root}`, 'utf8'))?.[1] ?? '';
    expect(Number.parseInt(flags, 8) & 0o2000000).not.toBe(0);
  });
});

describe('openat2', () => {
  beforeEach(async () => {
    await mkdir(join(directory, 'etc'));
    writeFileSync(join(directory, 'etc', 'passwd'), 'inside');
    symlinkSync('/etc/passwd', join(directory, 'absolute'));
    symlinkSync('../../../../../../etc/passwd', join(directory, 'upward'));
    symlinkSync('/proc/self/fd/0', join(directory, 'magic'));
  });

  const read = (path: string, resolve: number) => {
    const fd = openat2(root, path, { flags: constants.O_RDONLY, resolve });
    try {
      return readFileSync(readlinkSync(`/proc/self/fd/${fd}`), 'utf8');
    } finally {
      closeDescriptor(fd);
    }
  };

  test('in a root, absolute links and dots stay inside', () => {
    for (const path of ['absolute', 'upward', '/etc/passwd', '../../etc/passwd']) {
      expect(read(path, RESOLVE_IN_ROOT)).toBe('inside');
    }
  });

  test('beneath a directory, leaving it fails', () => {
    expect(read('etc/passwd', RESOLVE_BENEATH)).toBe('inside');
    for (const path of ['absolute', 'upward', '/etc/passwd', '../x']) {
      expect(() => read(path, RESOLVE_BENEATH)).toThrow(/EXDEV/);
    }
  });

  test('symlinks and magic links can be forbidden', () => {
    expect(() => read('absolute', RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)).toThrow(/ELOOP.*absolute/);
    const proc = openat(AT_FDCWD, '/proc/self', O_PATH | O_DIRECTORY);
    try {
      expect(() => openat2(proc, 'exe', { flags: constants.O_RDONLY, resolve: RESOLVE_NO_MAGICLINKS })).toThrow(
        'ELOOP',
      );
    } finally {
      closeDescriptor(proc);
    }
  });

  test('creates with a mode', () => {
    const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY;
    closeDescriptor(openat2(root, 'new', { flags, mode: 0o600, resolve: RESOLVE_BENEATH }));
    expect(statSync(join(directory, 'new')).mode & 0o777).toBe(0o600);
  });
});
