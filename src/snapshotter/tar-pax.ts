/**
 * PAX extended headers (POSIX.1-2001 pax, "pax Extended Header"): `LENGTH KEY=VALUE\n`, repeated.
 *
 * Records are kept in order and with their repetitions, since GNU's first sparse format repeats keys.
 */
import { refusedArchive } from './archive-error.ts';
import { type ByteString, byteString } from './byte-string.ts';

export interface PaxRecord {
  readonly key: string;
  readonly value: Buffer;
}

export function parsePaxRecords(block: Buffer): PaxRecord[] {
  const records: PaxRecord[] = [];
  for (let at = 0; at < block.length; ) {
    const space = block.indexOf(0x20, at);
    const length =
      space === -1 || space - at > LENGTH_DIGITS_MAX ? Number.NaN : decimal(block.toString('latin1', at, space));
    const end = at + length;
    const equals = block.indexOf(0x3d, space);
    const whole = end <= block.length && equals !== -1 && equals < end && block[end - 1] === 0x0a && space < equals;
    if (!whole) throw refusedArchive('an extended header is not a list of records');
    // Copies: the block is only valid during this call.
    records.push({
      key: block.toString('utf8', space + 1, equals),
      value: Buffer.from(block.subarray(equals + 1, end - 1)),
    });
    at = end;
  }
  return records;
}

const LENGTH_DIGITS_MAX = 10;

/** What extended headers say of one entry: the last record of a key counts, and an empty value takes a key back. */
export class PaxAttributes {
  readonly #values: ReadonlyMap<string, Buffer>;
  /** The entry's own records, in order. */
  readonly records: readonly PaxRecord[];

  /** `global` holds the records of all global headers so far. */
  constructor(global: readonly PaxRecord[], own: readonly PaxRecord[]) {
    this.records = own;
    const values = new Map<string, Buffer>();
    for (const { key, value } of [...global, ...own]) {
      // An xattr may be empty; an empty path, size or owner means "as in the header block".
      if (value.length === 0 && !key.startsWith(SCHILY_XATTR)) values.delete(key);
      else values.set(key, value);
    }
    this.#values = values;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  bytes(key: string): ByteString | undefined {
    const value = this.#values.get(key);
    return value && byteString(value);
  }

  /** A whole number that is not negative. */
  count(key: string): number | undefined {
    const text = this.#values.get(key)?.toString('latin1');
    if (text === undefined) return undefined;
    const value = decimal(text);
    if (!Number.isSafeInteger(value)) throw refusedArchive(`extended header: ${key} is not a usable number`);
    return value;
  }

  /** Seconds since 1970 with a fraction, as nanoseconds; finer digits are dropped. */
  time(key: string): bigint | undefined {
    const text = this.#values.get(key)?.toString('latin1');
    if (text === undefined) return undefined;
    const match = /^(-?)(\d{1,18})(?:\.(\d*))?$/.exec(text);
    if (!match) throw refusedArchive(`extended header: ${key} is not a time`);
    const [, sign, seconds = '0', fraction = ''] = match;
    const value = BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9));
    return sign === '-' ? -value : value;
  }

  /** Extended attributes: star's and GNU tar's raw form, and libarchive's (name URL-encoded, value base64). */
  xattrs(): Map<string, Buffer> {
    const xattrs = new Map<string, Buffer>();
    for (const [key, value] of this.#values) {
      if (key.startsWith(LIBARCHIVE_XATTR)) {
        const name = decodePercent(key.slice(LIBARCHIVE_XATTR.length));
        if (!xattrs.has(name)) xattrs.set(name, Buffer.from(value.toString('latin1'), 'base64'));
      } else if (key.startsWith(SCHILY_XATTR)) {
        xattrs.set(key.slice(SCHILY_XATTR.length), value);
      }
    }
    return xattrs;
  }
}

const SCHILY_XATTR = 'SCHILY.xattr.';
const LIBARCHIVE_XATTR = 'LIBARCHIVE.xattr.';

function decimal(text: string): number {
  return /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
}

function decodePercent(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
