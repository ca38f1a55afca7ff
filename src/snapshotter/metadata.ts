/** Owner, mode, times and extended attributes of one entry in a layer. */
import { constants } from 'node:fs';
import { errnoOf } from '../base/errors.ts';
import {
  descriptorPath,
  type FileStatus,
  fchmodat,
  fchownat,
  getXattr,
  listXattrs,
  setXattr,
  utimensat,
} from '../linux/index.ts';
import { refusedArchive } from './archive-error.ts';
import { type ByteString, pathOf, readable } from './byte-string.ts';

export interface Metadata {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly modificationNs: bigint;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/** One less would be "leave as it is" to chown(2). */
const ID_MAX = 0xfffffffe;

/**
 * Applies all of it to an entry. The order is the kernel's: a change of owner clears setuid and capabilities, a change of
 * mode follows the access list, and everything but the last step may touch the times.
 */
export function applyMetadata(directoryFd: number, name: ByteString, metadata: Metadata, isSymlink: boolean): void {
  const path = pathOf(name);
  if (metadata.uid > ID_MAX || metadata.gid > ID_MAX) throw refusedArchive(`${readable(name)} has an impossible owner`);
  fchownat(directoryFd, path, metadata.uid, metadata.gid);
  if (!isSymlink) fchmodat(directoryFd, path, metadata.mode);
  for (const [key, value] of metadata.xattrs) {
    if (keepsXattr(key)) applyXattr(directoryFd, name, key, value);
  }
  applyTime(directoryFd, name, metadata.modificationNs);
}

/** Access time too: an archive's own is rarely there, and the time of unpacking would make two unpackings differ. */
export function applyTime(directoryFd: number, name: ByteString, modificationNs: bigint): void {
  utimensat(directoryFd, pathOf(name), modificationNs, modificationNs);
}

/** What a directory of a lower layer hands on to one that a layer above only implies. */
export function readMetadata(directoryFd: number, name: ByteString, status: FileStatus): Metadata {
  const path = descriptorPath(directoryFd, pathOf(name));
  const xattrs = new Map<string, Buffer>();
  for (const key of listXattrs(path)) {
    const value = keepsXattr(key) ? getXattr(path, key) : undefined;
    if (value) xattrs.set(key, value);
  }
  const { mode, uid, gid, modificationNs } = status;
  return { mode: mode & 0o7777, uid, gid, modificationNs, xattrs };
}

/**
 * What an image may say about its files. Overlayfs's own attributes are not the image's to set: they would hide or redirect
 * what lies in other layers. Security labels (SELinux, Smack, IMA) belong to the host's policy; a capability is the
 * exception that images are made of.
 */
function keepsXattr(key: string): boolean {
  if (key.startsWith('trusted.')) return !key.startsWith('trusted.overlay.');
  return key.startsWith('user.') || key === 'security.capability' || ACCESS_LISTS.has(key);
}

const ACCESS_LISTS: ReadonlySet<string> = new Set(['system.posix_acl_access', 'system.posix_acl_default']);

function applyXattr(directoryFd: number, name: ByteString, key: string, value: Buffer): void {
  try {
    setXattr(descriptorPath(directoryFd, pathOf(name)), key, value);
  } catch (error) {
    const code = errnoOf(error);
    // user.* exists on files and directories only, and access lists only where the file system has them; a file is usable
    // without either. Without its capability a program would fail later and nobody would know why.
    if ((code === 'EPERM' || code === 'EOPNOTSUPP') && key !== 'security.capability') return;
    if (code === 'EINVAL' || code === 'ERANGE' || code === 'E2BIG') {
      throw refusedArchive(`the extended attribute ${JSON.stringify(key)} of ${readable(name)} is not valid`, error);
    }
    throw error;
  }
}

export function fileType(status: FileStatus): number {
  return status.mode & constants.S_IFMT;
}

export function isDirectory(status: FileStatus | undefined): boolean {
  return status !== undefined && fileType(status) === constants.S_IFDIR;
}
