/** What a header block, the long names and the extended headers before it say together about one entry. */
import { refusedArchive } from './archive-error.ts';
import { type ByteString, readable } from './byte-string.ts';
import type { TarEntry, TarEntryType, TarLimits } from './tar-entry.ts';
import type { TarHeader } from './tar-header.ts';
import type { PaxAttributes } from './tar-pax.ts';

const ENTRY_TYPES: ReadonlyMap<string, TarEntryType> = new Map([
  ['0', 'file'],
  ['7', 'file'],
  ['S', 'file'],
  ['1', 'hardlink'],
  ['2', 'symlink'],
  ['3', 'characterDevice'],
  ['4', 'blockDevice'],
  ['5', 'directory'],
  ['D', 'directory'],
  ['6', 'fifo'],
]);

interface LongNames {
  readonly name: ByteString | undefined;
  readonly linkTarget: ByteString | undefined;
}

/** The entry, with a size of 0: what a file's size is depends on its sparse form. */
export function describeEntry(header: TarHeader, long: LongNames, pax: PaxAttributes, limits: TarLimits): TarEntry {
  const unsafeName = bounded(long.name ?? pax.bytes('GNU.sparse.name') ?? pax.bytes('path') ?? header.name, limits);
  const type = ENTRY_TYPES.get(header.typeFlag);
  if (!type) throw refusedArchive(`${readable(unsafeName)} is of an unknown type ${JSON.stringify(header.typeFlag)}`);
  const linked = type === 'symlink' || type === 'hardlink';
  const unsafeLinkTarget = long.linkTarget ?? pax.bytes('linkpath') ?? header.linkTarget;
  return {
    // V7 had no type for directories, only a slash.
    type: header.typeFlag === '0' && unsafeName.endsWith('/') ? 'directory' : type,
    unsafeName,
    unsafeLinkTarget: linked ? bounded(unsafeLinkTarget, limits) : ('' as ByteString),
    mode: header.mode,
    uid: pax.count('uid') ?? header.uid,
    gid: pax.count('gid') ?? header.gid,
    sizeBytes: 0,
    modificationNs: pax.time('mtime') ?? BigInt(header.modificationSeconds) * 1_000_000_000n,
    deviceMajor: header.deviceMajor,
    deviceMinor: header.deviceMinor,
    xattrs: pax.xattrs(),
  };
}

function bounded(name: ByteString, { nameBytesMax }: TarLimits): ByteString {
  if (name.length <= nameBytesMax) return name;
  throw refusedArchive(`the name ${readable(name)} has ${name.length} bytes, more than ${nameBytesMax}`);
}
