/**
 * openat2(2): path resolution that can't leave a directory. The right tool for a path that somebody else wrote, below a
 * tree that somebody else filled.
 */
import { bind, cString, O_CLOEXEC, type PathLike } from './libc.ts';

/** The same number on every architecture (the unified table); glibc 2.36 has no wrapper. */
const SYS_OPENAT2 = 437;
const call = bind('syscall', ['long', 'long', 'pointer', 'pointer', 'long'], 'long');

/** Crossing a mount point fails. */
export const RESOLVE_NO_XDEV = 0x01;
/** Links in the manner of /proc/PID/fd fail. */
export const RESOLVE_NO_MAGICLINKS = 0x02;
/** Any symlink in the path fails (ELOOP). */
export const RESOLVE_NO_SYMLINKS = 0x04;
/** Leaving the directory fails (EXDEV), and so does every absolute path or symlink. */
export const RESOLVE_BENEATH = 0x08;
/** The directory is the root: absolute symlinks and `..` stay inside, as after chroot. */
export const RESOLVE_IN_ROOT = 0x10;

export interface ResolveOptions {
  readonly flags: number;
  readonly resolve: number;
  /** Only with O_CREAT or O_TMPFILE: the kernel refuses it otherwise. */
  readonly mode?: number;
}

/** EAGAIN (a rename raced with the walk) is retried a few times. */
export function openat2(fd: number, path: PathLike, options: ResolveOptions): number {
  // struct open_how: u64 flags, u64 mode, u64 resolve.
  const how = Buffer.alloc(24);
  how.writeBigUInt64LE(BigInt(options.flags | O_CLOEXEC), 0);
  how.writeBigUInt64LE(BigInt(options.mode ?? 0), 8);
  how.writeBigUInt64LE(BigInt(options.resolve), 16);
  const name = cString(path);
  for (let attempt = 1; ; attempt++) {
    try {
      return call(path, SYS_OPENAT2, fd, name, how, how.length);
    } catch (error) {
      const raced = error instanceof Error && 'code' in error && error.code === 'EAGAIN';
      if (!raced || attempt === ATTEMPTS_MAX) throw error;
    }
  }
}

const ATTEMPTS_MAX = 16;
