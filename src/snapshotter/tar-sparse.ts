/**
 * Sparse files in the four forms that GNU tar has written (GNU tar manual, "Storing Sparse Files"): the old one with its
 * map in header blocks (type `S`), and PAX 0.0 (repeated records), 0.1 (one record) and 1.0 (map before the data).
 */
import { brokenArchive, refusedArchive } from './archive-error.ts';
import { BLOCK_BYTES, parseNumber, unsigned } from './tar-header.ts';
import type { PaxAttributes } from './tar-pax.ts';

/** A piece of the file that the archive holds; what lies between two pieces is a hole. */
export interface SparseSegment {
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Segments in the header block of an old GNU sparse entry, and in the blocks that extend it. */
export function oldGnuSegments(block: Buffer, kind: 'header' | 'extension', offset: number) {
  const [start, count, more] = kind === 'header' ? [386, 4, 482] : [0, 21, 504];
  const segments: SparseSegment[] = [];
  for (let index = 0; index < count; index++) {
    const at = start + index * 24;
    if (block[at] === 0) break;
    const number = (from: number) => {
      const value = parseNumber(block.subarray(from, from + 12), 'sparse map', offset);
      return unsigned(value, 'sparse map', offset);
    };
    segments.push({ offset: number(at), sizeBytes: number(at + 12) });
  }
  return { segments, extended: block[more] !== 0 };
}

/** The size of the whole file, holes included, of an old GNU sparse entry. */
export function oldGnuRealSize(block: Buffer, offset: number): number {
  return unsigned(parseNumber(block.subarray(483, 495), 'real size', offset), 'real size', offset);
}

/** The map that PAX 0.0 and 0.1 keep in the records; undefined when the entry is not sparse in that way. */
export function paxSegments(pax: PaxAttributes, segmentsMax: number): SparseSegment[] | undefined {
  const map = pax.bytes('GNU.sparse.map');
  if (map !== undefined) return pairUp(map === '' ? [] : map.split(','), segmentsMax);
  if (!pax.has('GNU.sparse.offset')) return pax.has('GNU.sparse.numblocks') ? [] : undefined;
  const numbers: string[] = [];
  for (const { key, value } of pax.records) {
    const expected = numbers.length % 2 === 0 ? 'GNU.sparse.offset' : 'GNU.sparse.numbytes';
    if (key !== 'GNU.sparse.offset' && key !== 'GNU.sparse.numbytes') continue;
    if (key !== expected) throw refusedArchive('a sparse map has no order');
    numbers.push(value.toString('latin1'));
  }
  return pairUp(numbers, segmentsMax);
}

/** Collects the map that PAX 1.0 puts before the data: a count, then offsets and sizes, a line each, padded to a block. */
export class LeadingSparseMap {
  readonly #segmentsMax: number;
  #text = '';
  #lines: string[] = [];
  #linesWanted = 1;

  constructor(segmentsMax: number) {
    this.#segmentsMax = segmentsMax;
  }

  /** Takes one block of the data; returns the map once it is whole. */
  add(block: Buffer): SparseSegment[] | undefined {
    const parts = (this.#text + block.toString('latin1')).split('\n');
    this.#text = parts.pop() ?? '';
    if (this.#text.length > BLOCK_BYTES && this.#lines.length + parts.length < this.#linesWanted) {
      throw refusedArchive('a sparse map is not made of numbers');
    }
    for (const line of parts) {
      if (this.#lines.length === this.#linesWanted) break;
      this.#lines.push(line);
      if (this.#lines.length === 1) this.#linesWanted += 2 * this.#count(line);
    }
    return this.#lines.length === this.#linesWanted ? pairUp(this.#lines.slice(1), this.#segmentsMax) : undefined;
  }

  #count(line: string): number {
    const count = wholeNumber(line);
    if (count > this.#segmentsMax) throw tooMany(this.#segmentsMax);
    return count;
  }
}

/** Segments must lie in order inside the file and account for every byte that the archive holds for it. */
export function checkSegments(segments: readonly SparseSegment[], realSizeBytes: number, dataBytes: number): void {
  let reached = 0;
  let held = 0;
  for (const { offset, sizeBytes } of segments) {
    if (offset < reached || sizeBytes > realSizeBytes - offset)
      throw refusedArchive('a sparse map lies about its file');
    reached = offset + sizeBytes;
    held += sizeBytes;
  }
  if (held !== dataBytes) throw brokenArchive(`a sparse map names ${held} bytes where the archive holds ${dataBytes}`);
}

export function tooMany(segmentsMax: number) {
  return refusedArchive(`a sparse file has more than ${segmentsMax} segments`);
}

function pairUp(numbers: readonly string[], segmentsMax: number): SparseSegment[] {
  if (numbers.length % 2 !== 0) throw refusedArchive('a sparse map ends within a pair');
  if (numbers.length / 2 > segmentsMax) throw tooMany(segmentsMax);
  const segments: SparseSegment[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    segments.push({ offset: wholeNumber(numbers[index]), sizeBytes: wholeNumber(numbers[index + 1]) });
  }
  return segments;
}

function wholeNumber(text: string | undefined): number {
  const value = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw refusedArchive('a sparse map is not made of numbers');
  return value;
}
