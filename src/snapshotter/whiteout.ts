/**
 * Deletions. An archive writes them as AUFS did (OCI image spec, layer.md, "Whiteouts"): `.wh.NAME` hides a name of the
 * layers below, `.wh..wh..opq` hides all that they have in that directory. On disk they are overlayfs's: a character
 * device 0/0, and the attribute `trusted.overlay.opaque` of the directory.
 */
import { constants } from 'node:fs';
import { descriptorPath, type FileStatus, getXattr, mknodat, removeXattr, setXattr } from '../linux/index.ts';
import { refusedArchive } from './archive-error.ts';
import { type ByteString, pathOf, readable } from './byte-string.ts';

const PREFIX = '.wh.';
const METADATA_PREFIX = '.wh..wh.';
const OPAQUE_NAME = '.wh..wh..opq';

const OPAQUE_XATTR = 'trusted.overlay.opaque';
const OPAQUE_VALUE = Buffer.from('y');

/** `metadata`: AUFS's own bookkeeping, which means nothing to anybody else. */
export type Marker =
  | { readonly kind: 'whiteout'; readonly name: ByteString }
  | { readonly kind: 'opaque' }
  | { readonly kind: 'metadata' };

/** What a name in an archive stands for, or undefined when it is an ordinary name. */
export function markerOf(name: ByteString): Marker | undefined {
  if (!name.startsWith(PREFIX)) return undefined;
  if (name === OPAQUE_NAME) return { kind: 'opaque' };
  if (name.startsWith(METADATA_PREFIX)) return { kind: 'metadata' };
  const hidden = name.slice(PREFIX.length) as ByteString;
  if (hidden === '' || hidden === '.' || hidden === '..') throw refusedArchive(`${readable(name)} hides no name`);
  return { kind: 'whiteout', name: hidden };
}

/** The name that hides `name` in an archive. */
export function whiteoutName(name: ByteString): ByteString {
  return (PREFIX + name) as ByteString;
}

export const opaqueMarkerName = OPAQUE_NAME as ByteString;

export function isWhiteout(status: FileStatus): boolean {
  return (status.mode & constants.S_IFMT) === constants.S_IFCHR && status.device === 0n;
}

export function makeWhiteout(directoryFd: number, name: ByteString): void {
  mknodat(directoryFd, pathOf(name), constants.S_IFCHR, 0n);
}

export function isOpaque(directoryFd: number): boolean {
  return getXattr(descriptorPath(directoryFd, '.'), OPAQUE_XATTR)?.equals(OPAQUE_VALUE) ?? false;
}

export function makeOpaque(directoryFd: number): void {
  setXattr(descriptorPath(directoryFd, '.'), OPAQUE_XATTR, OPAQUE_VALUE);
}

export function removeOpaque(directoryFd: number): void {
  removeXattr(descriptorPath(directoryFd, '.'), OPAQUE_XATTR);
}
