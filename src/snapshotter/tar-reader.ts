/**
 * Reads a tar archive that arrives in pieces: ustar, V7, star, GNU (long names, sparse, base 256) and PAX (local and
 * global headers, all sparse forms), as tar(5) of libarchive and the GNU tar manual describe them.
 *
 * `push` takes whatever bytes there are and calls the sink for all that they complete, without waiting for anything:
 * one thread reads an archive at several gigabytes a second. `finish` says that no more bytes come, and throws when the
 * archive stops in the middle of something. Bytes after the end marker belong to no entry and are ignored.
 */
import { brokenArchive, refusedArchive } from './archive-error.ts';
import { type ByteString, readable } from './byte-string.ts';
import { describeEntry } from './tar-description.ts';
import { TAR_LIMITS, type TarEntry, type TarLimits, type TarSink } from './tar-entry.ts';
import { BLOCK_BYTES, isZeroBlock, parseHeader, type TarHeader, textField } from './tar-header.ts';
import { PaxAttributes, type PaxRecord, parsePaxRecords } from './tar-pax.ts';
import {
  checkSegments,
  LeadingSparseMap,
  oldGnuRealSize,
  oldGnuSegments,
  paxSegments,
  type SparseSegment,
  tooMany,
} from './tar-sparse.ts';

/** A header whose data describes other headers, by its type. */
interface Extension {
  readonly what: string;
  readonly bytesMax: number;
  readonly use: (data: Buffer) => void;
}

export class TarReader {
  readonly #sink: TarSink;
  readonly #limits: TarLimits;
  readonly #extensions: ReadonlyMap<string, Extension>;
  readonly #headerTaker = (block: Buffer) => this.#takeHeader(block);
  /** Of the next byte, in the archive. */
  #offset = 0;
  #headers = 0;
  #ended = false;

  /** What the next `#wantedBytes` bytes are, once they are all there. */
  #take: (block: Buffer) => void = this.#headerTaker;
  #wantedBytes = BLOCK_BYTES;
  #partial: Buffer[] = [];
  #partialBytes = 0;

  /** Bytes that flow through before the next wanted block: an entry's data, then what is to be skipped. */
  #dataBytes = 0;
  #skipBytes = 0;
  #segments: readonly SparseSegment[] = [];
  #segmentIndex = 0;
  #segmentUsedBytes = 0;

  #globalRecords: PaxRecord[] = [];
  #ownRecords: PaxRecord[] | undefined;
  #longName: ByteString | undefined;
  #longLinkTarget: ByteString | undefined;

  constructor(sink: TarSink, limits: TarLimits = TAR_LIMITS) {
    this.#sink = sink;
    this.#limits = limits;
    const recordsBytesMax = limits.extendedHeaderBytesMax;
    const own = (data: Buffer) => {
      this.#ownRecords = parsePaxRecords(data);
    };
    this.#extensions = new Map<string, Extension>([
      ['x', { what: 'extended header', bytesMax: recordsBytesMax, use: own }],
      // Solaris wrote its own letter first.
      ['X', { what: 'extended header', bytesMax: recordsBytesMax, use: own }],
      [
        'g',
        {
          what: 'global header',
          bytesMax: recordsBytesMax,
          use: (data) => this.#addGlobalRecords(parsePaxRecords(data)),
        },
      ],
      [
        'L',
        {
          what: 'long name',
          bytesMax: limits.nameBytesMax + 1,
          use: (data) => {
            this.#longName = textField(data, 0, data.length);
          },
        },
      ],
      [
        'K',
        {
          what: 'long link target',
          bytesMax: limits.nameBytesMax + 1,
          use: (data) => {
            this.#longLinkTarget = textField(data, 0, data.length);
          },
        },
      ],
    ]);
  }

  /** Bytes taken so far. */
  get offset(): number {
    return this.#offset;
  }

  push(chunk: Buffer): void {
    let rest = chunk;
    while (rest.length > 0) {
      const length = this.#consume(rest);
      this.#offset += length;
      rest = rest.subarray(length);
    }
  }

  finish(): void {
    if (this.#ended) return;
    const between = this.#take === this.#headerTaker && this.#partialBytes === 0;
    const pending = this.#ownRecords || this.#longName !== undefined || this.#longLinkTarget !== undefined;
    if (between && !pending && this.#dataBytes === 0 && this.#skipBytes === 0) return;
    throw brokenArchive(`the archive ends early, after ${this.#offset} bytes`);
  }

  #consume(rest: Buffer): number {
    if (this.#ended) return rest.length;
    if (this.#dataBytes > 0) return this.#passData(rest);
    if (this.#skipBytes > 0) {
      const length = Math.min(this.#skipBytes, rest.length);
      this.#skipBytes -= length;
      return length;
    }
    return this.#collect(rest);
  }

  /** Waits for a whole block; one that lies within the chunk is not copied. */
  #collect(rest: Buffer): number {
    const length = Math.min(this.#wantedBytes - this.#partialBytes, rest.length);
    const piece = rest.subarray(0, length);
    if (length === this.#wantedBytes) {
      this.#take(piece);
      return length;
    }
    // A copy: the chunk may be reused once `push` has returned.
    this.#partial.push(Buffer.from(piece));
    this.#partialBytes += length;
    if (this.#partialBytes === this.#wantedBytes) {
      const block = Buffer.concat(this.#partial);
      this.#partial = [];
      this.#partialBytes = 0;
      this.#take(block);
    }
    return length;
  }

  #want(bytes: number, take: (block: Buffer) => void): void {
    this.#wantedBytes = bytes;
    this.#take = take;
  }

  #takeHeader(block: Buffer): void {
    this.#want(BLOCK_BYTES, this.#headerTaker);
    if (isZeroBlock(block)) {
      this.#want(BLOCK_BYTES, (second) => this.#takeEndMarker(second));
      return;
    }
    if (++this.#headers > this.#limits.entriesMax) {
      throw refusedArchive(`more than ${this.#limits.entriesMax} entries`);
    }
    const header = parseHeader(block, this.#offset);
    const extension = this.#extensions.get(header.typeFlag);
    if (extension) this.#collectExtension(header, extension);
    else if (header.typeFlag === 'S') this.#takeOldSparse(block, header);
    // A volume's label: the archive's own name, no file.
    else if (header.typeFlag === 'V') this.#skipBytes = padded(header.sizeBytes);
    else this.#takeEntry(header);
  }

  #takeEndMarker(block: Buffer): void {
    if (!isZeroBlock(block)) throw brokenArchive(`a lone block of zeroes before byte ${this.#offset}`);
    if (this.#ownRecords || this.#longName !== undefined || this.#longLinkTarget !== undefined) {
      throw brokenArchive('an extended header without its entry');
    }
    this.#ended = true;
  }

  #collectExtension(header: TarHeader, { what, bytesMax, use }: Extension): void {
    const { sizeBytes } = header;
    if (sizeBytes > bytesMax) {
      throw refusedArchive(`the ${what} at byte ${this.#offset} has ${sizeBytes} bytes, more than ${bytesMax}`);
    }
    if (sizeBytes === 0) {
      use(Buffer.alloc(0));
      return;
    }
    this.#want(padded(sizeBytes), (block) => {
      this.#want(BLOCK_BYTES, this.#headerTaker);
      use(block.subarray(0, sizeBytes));
    });
  }

  #addGlobalRecords(records: readonly PaxRecord[]): void {
    const byKey = new Map(this.#globalRecords.map((record) => [record.key, record]));
    for (const record of records) byKey.set(record.key, record);
    this.#globalRecords = [...byKey.values()];
    const bytes = this.#globalRecords.reduce((sum, { key, value }) => sum + key.length + value.length, 0);
    if (bytes > this.#limits.extendedHeaderBytesMax) throw refusedArchive('the global headers are too large together');
  }

  /** GNU's old sparse form: the map is in this block and in as many after it as are marked extended. */
  #takeOldSparse(block: Buffer, header: TarHeader): void {
    const realSizeBytes = oldGnuRealSize(block, this.#offset);
    const map = oldGnuSegments(block, 'header', this.#offset);
    const start = (segments: readonly SparseSegment[]) => {
      this.#want(BLOCK_BYTES, this.#headerTaker);
      this.#takeEntry(header, { realSizeBytes, segments });
    };
    if (!map.extended) {
      start(map.segments);
      return;
    }
    const segments = [...map.segments];
    this.#want(BLOCK_BYTES, (extension) => {
      const more = oldGnuSegments(extension, 'extension', this.#offset);
      segments.push(...more.segments);
      if (segments.length > this.#limits.sparseSegmentsMax) throw tooMany(this.#limits.sparseSegmentsMax);
      if (!more.extended) start(segments);
    });
  }

  #takeEntry(header: TarHeader, oldSparse?: { realSizeBytes: number; segments: readonly SparseSegment[] }): void {
    const pax = new PaxAttributes(this.#globalRecords, this.#ownRecords ?? []);
    const longNames = { name: this.#longName, linkTarget: this.#longLinkTarget };
    const entry = describeEntry(header, longNames, pax, this.#limits);
    this.#ownRecords = undefined;
    this.#longName = undefined;
    this.#longLinkTarget = undefined;
    const storedBytes = pax.count('size') ?? header.sizeBytes;
    if (entry.type !== 'file') {
      // POSIX lets a hard link carry data and V7 gave directories a size; like Go's reader (and so every peer), we take
      // all of them for headers only. A dump directory of GNU is the exception: it lists its names.
      this.#begin(entry, []);
      if (header.typeFlag === 'D') this.#skipBytes = padded(storedBytes);
    } else if (oldSparse) {
      this.#beginFile({ ...entry, sizeBytes: oldSparse.realSizeBytes }, storedBytes, oldSparse.segments);
    } else {
      this.#beginPaxFile(entry, storedBytes, pax);
    }
  }

  #beginPaxFile(entry: TarEntry, storedBytes: number, pax: PaxAttributes): void {
    const realSizeBytes = pax.count('GNU.sparse.realsize') ?? pax.count('GNU.sparse.size');
    if (realSizeBytes === undefined) {
      this.#beginFile({ ...entry, sizeBytes: storedBytes }, storedBytes, [{ offset: 0, sizeBytes: storedBytes }]);
      return;
    }
    const sparse = { ...entry, sizeBytes: realSizeBytes };
    if (pax.bytes('GNU.sparse.major') === '1') {
      this.#collectSparseMap(sparse, storedBytes, new LeadingSparseMap(this.#limits.sparseSegmentsMax));
      return;
    }
    const segments = paxSegments(pax, this.#limits.sparseSegmentsMax);
    if (!segments) throw refusedArchive(`${readable(entry.unsafeName)} is sparse but has no map`);
    this.#beginFile(sparse, storedBytes, segments);
  }

  #collectSparseMap(entry: TarEntry, storedBytes: number, map: LeadingSparseMap): void {
    let leftBytes = storedBytes;
    const next = (block: Buffer) => {
      leftBytes -= BLOCK_BYTES;
      const segments = map.add(block);
      if (!segments && leftBytes < BLOCK_BYTES) throw refusedArchive('a sparse map is longer than its file');
      if (!segments) return;
      this.#want(BLOCK_BYTES, this.#headerTaker);
      this.#beginFile(entry, leftBytes, segments);
    };
    if (storedBytes < BLOCK_BYTES) throw refusedArchive('a sparse file has no room for its map');
    this.#want(BLOCK_BYTES, next);
  }

  #beginFile(entry: TarEntry, storedBytes: number, segments: readonly SparseSegment[]): void {
    if (segments.length !== 1 || segments[0]?.sizeBytes !== storedBytes || entry.sizeBytes !== storedBytes) {
      checkSegments(segments, entry.sizeBytes, storedBytes);
    }
    this.#begin(entry, segments, storedBytes);
  }

  #begin(entry: TarEntry, segments: readonly SparseSegment[], storedBytes = 0): void {
    this.#sink.begin(entry);
    this.#segments = segments;
    this.#segmentIndex = 0;
    this.#segmentUsedBytes = 0;
    this.#dataBytes = storedBytes;
    this.#skipBytes = padded(storedBytes) - storedBytes;
    if (storedBytes === 0) this.#sink.end();
  }

  #passData(rest: Buffer): number {
    const segment = this.#segments[this.#segmentIndex];
    if (!segment) throw new Error('a sparse map was not checked');
    const left = segment.sizeBytes - this.#segmentUsedBytes;
    if (left === 0) {
      this.#segmentIndex++;
      this.#segmentUsedBytes = 0;
      return 0;
    }
    const length = Math.min(left, rest.length);
    this.#sink.data(rest.subarray(0, length), segment.offset + this.#segmentUsedBytes);
    this.#segmentUsedBytes += length;
    this.#dataBytes -= length;
    if (this.#dataBytes === 0) this.#sink.end();
    return length;
  }
}

function padded(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
}
