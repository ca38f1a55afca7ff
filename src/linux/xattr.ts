/** Extended attributes of a path itself; a symlink at its end is not followed. */
import { SystemError } from './errno.ts';
import { bindRaw, cString, lastErrno, type PathLike, pathText, room } from './libc.ts';

// The kernel's XATTR_SIZE_MAX and XATTR_LIST_MAX: nothing is larger, so one call with one buffer is enough.
const SIZE_BYTES_MAX = 65536;
const scratch = room(SIZE_BYTES_MAX);
const ENODATA = 61;
const EOPNOTSUPP = 95;

const llistxattr = bindRaw('llistxattr', 'long', ['pointer', 'pointer', 'long']);
const lgetxattr = bindRaw('lgetxattr', 'long', ['pointer', 'pointer', 'pointer', 'long']);
const lsetxattr = bindRaw('lsetxattr', 'int', ['pointer', 'pointer', 'pointer', 'long', 'int']);
const lremovexattr = bindRaw('lremovexattr', 'int', ['pointer', 'pointer']);

/** The names; none where the file system has no attributes. */
export function listXattrs(path: PathLike): string[] {
  const length = llistxattr(cString(path), scratch, SIZE_BYTES_MAX);
  if (length === -1) {
    const errno = lastErrno();
    if (errno === EOPNOTSUPP) return [];
    throw new SystemError(errno, 'llistxattr', pathText(path));
  }
  return scratch.subarray(0, length).toString().split('\0').filter(Boolean);
}

/** The value, or undefined when the path has no such attribute. */
export function getXattr(path: PathLike, name: string): Buffer | undefined {
  const length = lgetxattr(cString(path), cString(name), scratch, SIZE_BYTES_MAX);
  if (length === -1) {
    const errno = lastErrno();
    if (errno === ENODATA || errno === EOPNOTSUPP) return undefined;
    throw new SystemError(errno, 'lgetxattr', pathText(path), name);
  }
  return Buffer.from(scratch.subarray(0, length));
}

/** Sets or replaces an attribute. */
export function setXattr(path: PathLike, name: string, value: Uint8Array): void {
  if (lsetxattr(cString(path), cString(name), value.length === 0 ? null : value, value.length, 0) === -1) {
    throw new SystemError(lastErrno(), 'lsetxattr', pathText(path), name);
  }
}

/** Removes an attribute; false when there was none. */
export function removeXattr(path: PathLike, name: string): boolean {
  if (lremovexattr(cString(path), cString(name)) === 0) return true;
  const errno = lastErrno();
  if (errno === ENODATA) return false;
  throw new SystemError(errno, 'lremovexattr', pathText(path), name);
}
