/**
 * Mounts. Mounting takes microseconds and is synchronous. Unmounting may write back a whole file system (an overlay's
 * last unmount syncs the file system of its upper directory), so it runs in libuv's thread pool; workers, which may wait,
 * have `unmountSync`.
 */
import { SystemError } from './errno.ts';
import { bind, bindAsync, cString, type PathLike, room } from './libc.ts';

/** mount(2)'s flags (linux/mount.h). */
export const MountFlag = {
  readonly: 0x1,
  nosuid: 0x2,
  nodev: 0x4,
  noexec: 0x8,
  synchronous: 0x10,
  remount: 0x20,
  mandlock: 0x40,
  dirsync: 0x80,
  noatime: 0x400,
  nodiratime: 0x800,
  bind: 0x1000,
  move: 0x2000,
  recursive: 0x4000,
  silent: 0x8000,
  unbindable: 0x20000,
  private: 0x40000,
  slave: 0x80000,
  shared: 0x100000,
  relatime: 0x200000,
  strictatime: 0x1000000,
  lazytime: 0x2000000,
} as const;

const MNT_DETACH = 0x2;
const UMOUNT_NOFOLLOW = 0x8;
/** mount(2) copies one page of options, its final NUL included. */
export const MOUNT_DATA_BYTES_MAX = 4095;
const E2BIG = 7;

const mountCall = bind('mount', ['pointer', 'pointer', 'pointer', 'long', 'pointer']);
const umountCall = bind('umount2', ['pointer', 'int']);
const statvfsCall = bind('statvfs', ['pointer', 'pointer']);
const umountCallAsync = bindAsync('umount2', ['pointer', 'int']);

export interface MountOptions {
  readonly source: PathLike;
  readonly target: PathLike;
  readonly type?: string;
  /** Bits of `MountFlag`. */
  readonly flags?: number;
  /** The file system's own options, `a=b,c`. */
  readonly data?: string;
}

export function mount(options: MountOptions): void {
  const { source, target, type, flags = 0, data } = options;
  if (data !== undefined && Buffer.byteLength(data) > MOUNT_DATA_BYTES_MAX) {
    throw new SystemError(E2BIG, 'mount', String(target), 'more than a page of options');
  }
  const optional = (text: string | undefined) => (text === undefined ? null : cString(text));
  mountCall(target, cString(source), cString(target), optional(type), flags, optional(data));
}

/** `readonly` makes the new mount read-only, not the file system; with `recursive` the mounts below keep their own flags. */
export function bindMount(
  source: PathLike,
  target: PathLike,
  options: { readonly?: boolean; recursive?: boolean } = {},
): void {
  const recursive = options.recursive === true ? MountFlag.recursive : 0;
  mount({ source, target, flags: MountFlag.bind | recursive });
  if (options.readonly !== true) return;
  try {
    // A bind mount takes flags only when it is remounted, and a remount drops what it does not name.
    const flags = MountFlag.bind | MountFlag.remount | MountFlag.readonly | currentFlags(target);
    mount({ source: 'none', target, flags });
  } catch (error) {
    unmountSync(target, { detach: true });
    throw error;
  }
}

/** The flags of the mount at `target`, as mount(2) takes them. */
function currentFlags(target: PathLike): number {
  // struct statvfs: f_flag is the tenth of its eight-byte fields. The first bits are the same in both worlds.
  const status = room(112);
  statvfsCall(target, cString(target), status);
  const flags = Number(status.readBigUInt64LE(72));
  const moved = (from: number, to: number) => (flags & from ? to : 0);
  return (
    (flags & (MountFlag.readonly | MountFlag.nosuid | MountFlag.nodev | MountFlag.noexec)) |
    moved(ST_NOATIME, MountFlag.noatime) |
    moved(ST_NODIRATIME, MountFlag.nodiratime) |
    moved(ST_RELATIME, MountFlag.relatime)
  );
}

const ST_NOATIME = 0x400;
const ST_NODIRATIME = 0x800;
const ST_RELATIME = 0x1000;

export type Propagation = 'private' | 'slave' | 'shared' | 'unbindable';

export function makePropagation(target: PathLike, propagation: Propagation, recursive = false): void {
  const flags = MountFlag[propagation] | (recursive ? MountFlag.recursive : 0);
  mount({ source: 'none', target, flags });
}

export interface UnmountOptions {
  /** Take it out of sight at once and let go when the last user leaves, instead of failing with EBUSY. */
  readonly detach?: boolean;
}

/** Unmounts what is on top at `target` (a symlink there is not followed). False when nothing is mounted, or no such path. */
export async function unmount(target: PathLike, options: UnmountOptions = {}): Promise<boolean> {
  try {
    await umountCallAsync(target, cString(target), unmountFlags(options));
    return true;
  } catch (error) {
    return nothingMounted(error);
  }
}

/** The same, waiting on this thread. */
export function unmountSync(target: PathLike, options: UnmountOptions = {}): boolean {
  try {
    umountCall(target, cString(target), unmountFlags(options));
    return true;
  } catch (error) {
    return nothingMounted(error);
  }
}

function unmountFlags(options: UnmountOptions): number {
  return UMOUNT_NOFOLLOW | (options.detach === true ? MNT_DETACH : 0);
}

function nothingMounted(error: unknown): false {
  if (error instanceof SystemError && (error.code === 'EINVAL' || error.code === 'ENOENT')) return false;
  throw error;
}
