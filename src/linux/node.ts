/** Device nodes, owners and exact times, by path; the end of the path is never followed. */
import { constants } from 'node:fs';
import { fchownat, mknodat, utimensat } from './at.ts';
import { AT_FDCWD, type PathLike } from './libc.ts';

/** `mode` holds type and permissions; the process's umask applies. */
export function mknod(path: PathLike, mode: number, device: bigint): void {
  mknodat(AT_FDCWD, path, mode, device);
}

export function mkfifo(path: PathLike, mode: number): void {
  mknodat(AT_FDCWD, path, constants.S_IFIFO | mode, 0n);
}

export function lchown(path: PathLike, uid: number, gid: number): void {
  fchownat(AT_FDCWD, path, uid, gid);
}

/** Nanoseconds since 1970. */
export function setTimes(path: PathLike, accessNs: bigint, modificationNs: bigint): void {
  utimensat(AT_FDCWD, path, accessNs, modificationNs);
}
