/**
 * The frames of SPDY/3.1 that Kubernetes uses, read and written.
 *
 * Control frame: u16 0x8000|3, u16 type, u8 flags, u24 length. Data frame: u32 stream (top bit 0), u8 flags, u24 length.
 * A data frame is handed on in pieces as it comes (it may have 16 MiB); a control frame whole, within a limit.
 */
import { CairnError } from '../base/errors.ts';

export type SpdyFrame =
  | { readonly type: 'synStream'; readonly streamId: number; readonly fin: boolean; readonly block: Buffer }
  /** SYN_REPLY and HEADERS: they share the compression context, so their blocks must be read. */
  | { readonly type: 'headers'; readonly streamId: number; readonly fin: boolean; readonly block: Buffer }
  | { readonly type: 'reset'; readonly streamId: number }
  | { readonly type: 'ping'; readonly id: number }
  | { readonly type: 'goAway' }
  /** One piece; `fin` on the last of the stream. */
  | { readonly type: 'data'; readonly streamId: number; readonly fin: boolean; readonly data: Buffer };

const HEADER_BYTES = 8;
const VERSION = 3;
const FLAG_FIN = 1;
const STREAM_ID_MASK = 0x7fffffff;
/** Our own streams' headers take some hundred bytes. */
const CONTROL_BYTES_MAX = 64 * 1024;
/** What the 24 bits of a length can say. */
export const DATA_BYTES_MAX = 0xffffff;

const SYN_STREAM = 1;
const SYN_REPLY = 2;
const RST_STREAM = 3;
const PING = 6;
const GOAWAY = 7;
const HEADERS = 8;
/** Length of each payload before its header block, or as a whole. */
const FIXED_BYTES: Readonly<Record<number, number>> = {
  [SYN_STREAM]: 10,
  [SYN_REPLY]: 4,
  [RST_STREAM]: 8,
  [PING]: 4,
  [HEADERS]: 4,
};

export class SpdyDecoder {
  #pending: Buffer = Buffer.alloc(0);
  #data: { readonly streamId: number; readonly fin: boolean; left: number } | undefined;

  /** The frames that `chunk` completes. InvalidArgument for what is not SPDY/3.1. */
  *decode(chunk: Buffer): Generator<SpdyFrame> {
    let rest = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    this.#pending = Buffer.alloc(0);
    for (;;) {
      if (this.#data !== undefined) {
        const { streamId, left } = this.#data;
        const data = rest.subarray(0, left);
        rest = rest.subarray(data.length);
        this.#data.left -= data.length;
        const complete = this.#data.left === 0;
        const fin = complete && this.#data.fin;
        if (complete) this.#data = undefined;
        if (data.length > 0 || fin) yield { type: 'data', streamId, fin, data };
        if (!complete) return;
      }
      if (rest.length < HEADER_BYTES) break;
      const flagsAndLength = rest.readUInt32BE(4);
      const length = flagsAndLength & DATA_BYTES_MAX;
      const fin = ((flagsAndLength >>> 24) & FLAG_FIN) !== 0;
      const first = rest.readUInt32BE(0);
      if (first >>> 31 === 0) {
        this.#data = { streamId: first, fin, left: length };
        rest = rest.subarray(HEADER_BYTES);
        continue;
      }
      if (length > CONTROL_BYTES_MAX) throw broken(`a control frame of ${length} bytes`);
      if (rest.length < HEADER_BYTES + length) break;
      const frame = control(first, fin, rest.subarray(HEADER_BYTES, HEADER_BYTES + length));
      rest = rest.subarray(HEADER_BYTES + length);
      if (frame !== undefined) yield frame;
    }
    // A copy: what is kept must not hold the whole chunk.
    this.#pending = Buffer.from(rest);
  }
}

/** Undefined for what may be ignored: SETTINGS, WINDOW_UPDATE (nobody keeps a window), CREDENTIAL. */
function control(versionAndType: number, fin: boolean, payload: Buffer): SpdyFrame | undefined {
  const version = (versionAndType >>> 16) & 0x7fff;
  if (version !== VERSION) throw broken(`a frame of SPDY version ${version}`);
  const type = versionAndType & 0xffff;
  if (payload.length < (FIXED_BYTES[type] ?? 0)) throw broken(`a short frame of type ${type}`);
  const streamId = payload.length < 4 ? 0 : payload.readUInt32BE(0) & STREAM_ID_MASK;
  switch (type) {
    case SYN_STREAM:
      return { type: 'synStream', streamId, fin, block: payload.subarray(10) };
    case SYN_REPLY:
    case HEADERS:
      return { type: 'headers', streamId, fin, block: payload.subarray(4) };
    case RST_STREAM:
      return { type: 'reset', streamId };
    case PING:
      return { type: 'ping', id: payload.readUInt32BE(0) };
    case GOAWAY:
      return { type: 'goAway' };
    default:
      return undefined;
  }
}

function broken(what: string): CairnError {
  return new CairnError('InvalidArgument', `SPDY: ${what}`, { step: 'streaming.spdy' });
}

function controlFrame(type: number, ...payload: readonly number[]): Buffer {
  const frame = Buffer.alloc(HEADER_BYTES + payload.length * 4);
  frame.writeUInt32BE((((0x8000 | VERSION) << 16) | type) >>> 0, 0);
  frame.writeUInt32BE(payload.length * 4, 4);
  for (const [index, value] of payload.entries()) frame.writeUInt32BE(value, HEADER_BYTES + index * 4);
  return frame;
}

export const pingFrame = (id: number): Buffer => controlFrame(PING, id);
export const goAwayFrame = (lastStreamId: number): Buffer => controlFrame(GOAWAY, lastStreamId, 0);

export const RESET_REFUSED = 3;
export const RESET_CANCEL = 5;
export const resetFrame = (streamId: number, status: number): Buffer => controlFrame(RST_STREAM, streamId, status);

/** SYN_REPLY; `block` from `emptyHeaderBlock`. */
export function replyFrame(streamId: number, block: Buffer): Buffer {
  const frame = Buffer.concat([controlFrame(SYN_REPLY, streamId), block]);
  frame.writeUInt32BE(4 + block.length, 4);
  return frame;
}

/** What stands before `length` bytes of data. */
export function dataHeader(streamId: number, length: number, fin: boolean): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(streamId, 0);
  header.writeUInt32BE(((fin ? FLAG_FIN << 24 : 0) | length) >>> 0, 4);
  return header;
}
