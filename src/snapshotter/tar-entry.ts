/**
 * What a tar archive says, one entry at a time, whatever dialect it is written in. Nothing here has been judged yet: names
 * may be absolute, climb with `..` or lie about what they are, so they are called unsafe until `layer-path.ts` took them.
 */
import type { ByteString } from './byte-string.ts';

export type TarEntryType = 'file' | 'directory' | 'symlink' | 'hardlink' | 'characterDevice' | 'blockDevice' | 'fifo';

export interface TarEntry {
  readonly type: TarEntryType;
  readonly unsafeName: ByteString;
  /** What a symlink holds, or the name that a hard link shares its file with; empty for the others. */
  readonly unsafeLinkTarget: ByteString;
  /** Permission bits with setuid, setgid and sticky; no type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of a file, holes included; 0 for the others. */
  readonly sizeBytes: number;
  readonly modificationNs: bigint;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** By name (`user.comment`). */
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/**
 * Takes the entries as the reader finds them: `begin`, then `data` for each piece of a file (holes are skipped, so
 * `offset` may jump), then `end`. A chunk is only valid during the call. What it throws ends the reading.
 */
export interface TarSink {
  begin(entry: TarEntry): void;
  data(chunk: Buffer, offset: number): void;
  end(): void;
}

export interface TarLimits {
  /** Headers of any sort. A layer with a whole distribution has about 100,000. */
  readonly entriesMax: number;
  /** One extended header (PAX); xattrs travel in it and hold at most 64 KiB each. */
  readonly extendedHeaderBytesMax: number;
  /** A name or link target: the kernel's PATH_MAX. */
  readonly nameBytesMax: number;
  /** Pieces of one sparse file. */
  readonly sparseSegmentsMax: number;
}

export const TAR_LIMITS: TarLimits = {
  entriesMax: 5_000_000,
  extendedHeaderBytesMax: 1024 * 1024,
  nameBytesMax: 4095,
  sparseSegmentsMax: 262_144,
};
