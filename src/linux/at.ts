/**
 * Calls relative to a directory descriptor: what an unpacker needs so that no symlink can be slipped in between check and
 * use. `name` is one path element (or a path that the caller has resolved with `openat2`); nothing here follows a symlink
 * at its end, except where the name says so.
 *
 * Descriptors are plain numbers, close-on-exec, to be closed with `closeDescriptor`. `fs.writeSync(fd)` and
 * `fs.readSync(fd)` work on them. For calls that only exist for paths (xattr), `descriptorPath(fd, name)` is a path that
 * can't be redirected.
 */
import { SystemError } from './errno.ts';
import {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  bind,
  cString,
  O_CLOEXEC,
  type PathLike,
  pathText,
  room,
} from './libc.ts';

const openatCall = bind('openat', ['int', 'pointer', 'int', 'uint']);
const mkdiratCall = bind('mkdirat', ['int', 'pointer', 'uint']);
const mknodatCall = bind('mknodat', ['int', 'pointer', 'uint', 'long']);
const symlinkatCall = bind('symlinkat', ['pointer', 'int', 'pointer']);
const linkatCall = bind('linkat', ['int', 'pointer', 'int', 'pointer', 'int']);
const unlinkatCall = bind('unlinkat', ['int', 'pointer', 'int']);
const renameatCall = bind('renameat', ['int', 'pointer', 'int', 'pointer']);
const fchownatCall = bind('fchownat', ['int', 'pointer', 'uint', 'uint', 'int']);
const fchmodatCall = bind('fchmodat', ['int', 'pointer', 'uint', 'int']);
const utimensatCall = bind('utimensat', ['int', 'pointer', 'pointer', 'int']);
const readlinkatCall = bind('readlinkat', ['int', 'pointer', 'pointer', 'long'], 'long');
const statxCall = bind('statx', ['int', 'pointer', 'int', 'uint', 'pointer']);

const PATH_BYTES_MAX = 4096;
const ENAMETOOLONG = 36;

/** A path to `name` in the directory behind `fd`, whatever becomes of the directory's own path. */
export function descriptorPath(fd: number, name?: PathLike): PathLike {
  if (name === undefined) return `/proc/self/fd/${fd}`;
  if (typeof name === 'string') return `/proc/self/fd/${fd}/${name}`;
  return Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);
}

export function openat(fd: number, name: PathLike, flags: number, mode = 0): number {
  return openatCall(name, fd, cString(name), flags | O_CLOEXEC, mode);
}

export function mkdirat(fd: number, name: PathLike, mode: number): void {
  mkdiratCall(name, fd, cString(name), mode);
}

/** `mode` with its type bits (`S_IFCHR`, ...); `device` from `makedev`. */
export function mknodat(fd: number, name: PathLike, mode: number, device: bigint): void {
  mknodatCall(name, fd, cString(name), mode, device);
}

export function symlinkat(target: PathLike, fd: number, name: PathLike): void {
  symlinkatCall(name, cString(target), fd, cString(name));
}

/** Links the entry itself, also when it is a symlink. */
export function linkat(fd: number, name: PathLike, newFd: number, newName: PathLike): void {
  linkatCall(newName, fd, cString(name), newFd, cString(newName), 0);
}

export function unlinkat(fd: number, name: PathLike, options: { directory?: boolean } = {}): void {
  unlinkatCall(name, fd, cString(name), options.directory === true ? AT_REMOVEDIR : 0);
}

export function renameat(fd: number, name: PathLike, newFd: number, newName: PathLike): void {
  renameatCall(newName, fd, cString(name), newFd, cString(newName));
}

/** The owner of the entry itself. An empty name means `fd` (which may be an O_PATH descriptor). */
export function fchownat(fd: number, name: PathLike, uid: number, gid: number): void {
  fchownatCall(name, fd, cString(name), uid, gid, AT_SYMLINK_NOFOLLOW | (name.length === 0 ? AT_EMPTY_PATH : 0));
}

/** FOLLOWS a symlink: a symlink has no mode of its own. Call it for entries known to be none. */
export function fchmodat(fd: number, name: PathLike, mode: number): void {
  fchmodatCall(name, fd, cString(name), mode, 0);
}

/** Access and modification time in nanoseconds since 1970 (negative before), of the entry itself. */
export function utimensat(fd: number, name: PathLike, accessNs: bigint, modificationNs: bigint): void {
  utimensatCall(name, fd, cString(name), timespecs(accessNs, modificationNs), AT_SYMLINK_NOFOLLOW);
}

/** The bytes that a symlink holds. */
export function readlinkat(fd: number, name: PathLike): Buffer {
  const target = room(PATH_BYTES_MAX);
  const length = readlinkatCall(name, fd, cString(name), target, PATH_BYTES_MAX);
  if (length === PATH_BYTES_MAX) throw new SystemError(ENAMETOOLONG, 'readlinkat', pathText(name));
  return target.subarray(0, length);
}

/** Two `struct timespec` (s64 seconds, s64 nanoseconds). */
export function timespecs(first: bigint, second: bigint): Buffer {
  const buffer = Buffer.alloc(32);
  for (const [index, ns] of [first, second].entries()) {
    // Nanoseconds count forward from the second, also before 1970.
    const nanoseconds = ((ns % BILLION) + BILLION) % BILLION;
    buffer.writeBigInt64LE((ns - nanoseconds) / BILLION, index * 16);
    buffer.writeBigInt64LE(nanoseconds, index * 16 + 8);
  }
  return buffer;
}

const BILLION = 1_000_000_000n;
const STATX_BASIC_STATS = 0x7ff;
const STATX_MNT_ID = 0x1000;

export interface FileStatus {
  /** Type and permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly inode: bigint;
  readonly sizeBytes: bigint;
  readonly blocks: bigint;
  readonly accessNs: bigint;
  readonly modificationNs: bigint;
  readonly changeNs: bigint;
  /** The device that a device node stands for, as `makedev` makes it. */
  readonly device: bigint;
  /** The file system that the entry lies on. */
  readonly fileSystem: bigint;
  readonly mountId: bigint;
}

/** The status of the entry itself. An empty name means `fd`. */
export function statusAt(fd: number, name: PathLike): FileStatus {
  const out = room(256);
  const flags = AT_SYMLINK_NOFOLLOW | (name.length === 0 ? AT_EMPTY_PATH : 0);
  statxCall(name, fd, cString(name), flags, STATX_BASIC_STATS | STATX_MNT_ID, out);
  return parseStatx(out);
}

/** `struct statx` (linux/stat.h): one layout on every architecture. */
export function parseStatx(bytes: Buffer): FileStatus {
  const time = (offset: number) => bytes.readBigInt64LE(offset) * BILLION + BigInt(bytes.readUInt32LE(offset + 8));
  return {
    mode: bytes.readUInt16LE(28),
    uid: bytes.readUInt32LE(20),
    gid: bytes.readUInt32LE(24),
    links: bytes.readUInt32LE(16),
    inode: bytes.readBigUInt64LE(32),
    sizeBytes: bytes.readBigUInt64LE(40),
    blocks: bytes.readBigUInt64LE(48),
    accessNs: time(64),
    changeNs: time(96),
    modificationNs: time(112),
    device: makedev(bytes.readUInt32LE(128), bytes.readUInt32LE(132)),
    fileSystem: makedev(bytes.readUInt32LE(136), bytes.readUInt32LE(140)),
    mountId: bytes.readBigUInt64LE(144),
  };
}

/** glibc's `dev_t`: 32 bits of major and of minor, interleaved. */
export function makedev(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)];
  return ((a & 0xfffff000n) << 32n) | ((a & 0xfffn) << 8n) | ((b & 0xffffff00n) << 12n) | (b & 0xffn);
}

export function deviceNumbers(device: bigint): { readonly major: number; readonly minor: number } {
  return {
    major: Number(((device >> 32n) & 0xfffff000n) | ((device >> 8n) & 0xfffn)),
    minor: Number(((device >> 12n) & 0xffffff00n) | (device & 0xffn)),
  };
}
