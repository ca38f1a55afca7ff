/**
 * The 512-byte header block of a tar archive (POSIX.1-1988 ustar, GNU, star and V7 before them).
 *
 * Field offsets are those of `struct posix_header` in the GNU tar manual, "Basic Tar Format".
 */
import { brokenArchive, refusedArchive } from './archive-error.ts';
import { type ByteString, byteString } from './byte-string.ts';

export const BLOCK_BYTES = 512;

export interface TarHeader {
  /** One character; NUL (V7's regular file) is given as `0`. */
  readonly typeFlag: string;
  readonly name: ByteString;
  readonly linkTarget: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly modificationSeconds: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
}

/** `offset`: where the block lies in the archive, for messages. Throws when the checksum is wrong. */
export function parseHeader(block: Buffer, offset: number): TarHeader {
  checkSum(block, offset);
  const flag = block[156] ?? 0;
  const typeFlag = flag === 0 ? '0' : String.fromCharCode(flag);
  const isDevice = typeFlag === '3' || typeFlag === '4';
  const number = (start: number, end: number, what: string) => parseNumber(block.subarray(start, end), what, offset);
  return {
    typeFlag,
    name: joinPrefix(namePrefix(block), textField(block, 0, 100)),
    linkTarget: textField(block, 157, 257),
    mode: unsigned(number(100, 108, 'mode'), 'mode', offset) & 0o7777,
    uid: unsigned(number(108, 116, 'uid'), 'uid', offset),
    gid: unsigned(number(116, 124, 'gid'), 'gid', offset),
    sizeBytes: unsigned(number(124, 136, 'size'), 'size', offset),
    modificationSeconds: number(136, 148, 'mtime'),
    // Writers leave rubbish in these fields of other entries.
    deviceMajor: isDevice ? unsigned(number(329, 337, 'devmajor'), 'devmajor', offset) : 0,
    deviceMinor: isDevice ? unsigned(number(337, 345, 'devminor'), 'devminor', offset) : 0,
  };
}

export function isZeroBlock(block: Buffer): boolean {
  return block.equals(ZEROES);
}

const ZEROES = Buffer.alloc(BLOCK_BYTES);

/** The sum of all bytes with the field itself read as spaces. Old Sun tars summed signed bytes. */
function checkSum(block: Buffer, offset: number): void {
  let unsignedSum = 0;
  let highBytes = 0;
  for (let index = 0; index < BLOCK_BYTES; index++) {
    const byte = index >= 148 && index < 156 ? 0x20 : (block[index] ?? 0);
    unsignedSum += byte;
    if (byte > 127) highBytes++;
  }
  const stated = numberIn(block.subarray(148, 156));
  if (stated === unsignedSum || stated === unsignedSum - 256 * highBytes) return;
  throw brokenArchive(`the header at byte ${offset} has checksum ${stated}, computed ${unsignedSum}`);
}

/** Where the first part of a long name is: every dialect has something else at byte 345. */
function namePrefix(block: Buffer): ByteString {
  const magic = block.toString('latin1', 257, 265);
  if (magic.startsWith('ustar\0')) {
    const isStar = block.toString('latin1', 508, 512) === 'tar\0';
    return textField(block, 345, isStar ? 476 : 500);
  }
  // GNU has times there. Go before 1.8 (and the Docker of its day) wrote a prefix under GNU's magic all the same: then
  // the bytes are printable text but no numbers.
  const prefix = textField(block, 345, 500);
  const misused = magic === 'ustar  \0' && !/^[0-7 \0]/.test(prefix) && /^[\x20-\x7e]+$/.test(prefix);
  return misused ? prefix : ('' as ByteString);
}

function joinPrefix(prefix: ByteString, name: ByteString): ByteString {
  return prefix === '' ? name : (`${prefix}/${name}` as ByteString);
}

/** Up to the first NUL, or the whole field. */
export function textField(block: Buffer, start: number, end: number): ByteString {
  const field = block.subarray(start, end);
  const nul = field.indexOf(0);
  return byteString(nul === -1 ? field : field.subarray(0, nul));
}

/**
 * A numeric field: octal digits between spaces and NULs, or GNU's base 256: the top bit set, then two's complement, big
 * end first. An empty field is 0.
 */
export function parseNumber(field: Buffer, what: string, offset: number): number {
  const value = numberIn(field);
  if (Number.isSafeInteger(value)) return value;
  throw refusedArchive(`the header at byte ${offset} has no usable ${what}`);
}

/** NaN when it is none. */
function numberIn(field: Buffer): number {
  const first = field[0] ?? 0;
  return first & 0x80 ? base256(field, first) : octal(field);
}

function octal(field: Buffer): number {
  const text = field.toString('latin1').replace(/^[ \0]+/, '');
  const digits = /^[0-7]*/.exec(text)?.[0] ?? '';
  const rest = text.slice(digits.length);
  if (rest !== '' && rest[0] !== ' ' && rest[0] !== '\0') return Number.NaN;
  return digits === '' ? 0 : Number.parseInt(digits, 8);
}

function base256(field: Buffer, first: number): number {
  const negative = (first & 0x40) !== 0;
  let value = BigInt(first & 0x3f) - (negative ? 0x40n : 0n);
  for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte);
  return Number(value);
}

export function unsigned(value: number, what: string, offset: number): number {
  if (value >= 0) return value;
  throw refusedArchive(`the header at byte ${offset} has a negative ${what}`);
}
