/** Header blocks of SPDY/3: name-value pairs in one zlib stream for each direction of a connection. */
import { constants, createInflate, type Inflate } from 'node:zlib';
import { CairnError } from '../base/errors.ts';
import { SPDY_DICTIONARY } from './spdy-dictionary.ts';

/** A small block can inflate to very much. */
const BLOCK_BYTES_MAX = 64 * 1024;
const HEADERS_MAX = 100;

export type SpdyHeaders = ReadonlyMap<string, string>;

/** Reads the blocks of one direction, in their order, one at a time. */
export class HeaderReader implements Disposable {
  readonly #inflate: Inflate;
  readonly #failed: Promise<never>;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor() {
    this.#inflate = createInflate({ dictionary: SPDY_DICTIONARY, flush: constants.Z_SYNC_FLUSH });
    const { promise, reject } = Promise.withResolvers<never>();
    this.#failed = promise;
    promise.catch(() => {});
    this.#inflate.on('error', (cause) => reject(broken('a header block can not be inflated', cause)));
    this.#inflate.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#bytes += chunk.length;
      if (this.#bytes <= BLOCK_BYTES_MAX) return;
      reject(broken(`a header block of more than ${BLOCK_BYTES_MAX} bytes`));
      this.#inflate.destroy();
    });
  }

  /** InvalidArgument for a block that is broken or too large; nothing can be read after that. */
  async read(block: Buffer): Promise<SpdyHeaders> {
    const written = new Promise<void>((resolve) => this.#inflate.write(block, () => resolve()));
    await Promise.race([written, this.#failed]);
    // The callback comes after a failure as well.
    if (this.#inflate.destroyed) await this.#failed;
    const plain = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#bytes = 0;
    return parseHeaders(plain);
  }

  [Symbol.dispose](): void {
    this.#inflate.destroy();
  }
}

/** u32 count, then for each pair u32 length, name, u32 length, value. Names in lower case. */
export function parseHeaders(plain: Buffer): SpdyHeaders {
  let at = 0;
  const uint32 = () => {
    if (at + 4 > plain.length) throw broken('a header block that ends early');
    at += 4;
    return plain.readUInt32BE(at - 4);
  };
  const text = () => {
    const length = uint32();
    if (at + length > plain.length) throw broken('a header block that ends early');
    at += length;
    return plain.toString('utf8', at - length, at);
  };
  const count = uint32();
  if (count > HEADERS_MAX) throw broken(`${count} headers`);
  const headers = new Map<string, string>();
  for (let index = 0; index < count; index++) {
    const name = text().toLowerCase();
    headers.set(name, text());
  }
  return headers;
}

/**
 * The only block that we ever send: no headers. It needs no compressor, being the same bytes each time but for the
 * stream's head (zlib header with FDICT, Adler-32 of the dictionary) before the first: a stored block with a count of 0,
 * and the empty stored block of a sync flush, without which Go's reader waits.
 */
export function emptyHeaderBlock(first: boolean): Buffer {
  const blocks = [0x00, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0x00, 0, 0, 0xff, 0xff];
  return Buffer.from(first ? [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2, ...blocks] : blocks);
}

function broken(what: string, cause?: unknown): CairnError {
  return new CairnError('InvalidArgument', `SPDY: ${what}`, { step: 'streaming.spdy', cause });
}
