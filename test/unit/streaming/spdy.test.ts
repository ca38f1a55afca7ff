import { constants, createInflate } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { SPDY_DICTIONARY } from '../../../src/streaming/spdy-dictionary.ts';
import {
  dataHeader,
  goAwayFrame,
  pingFrame,
  replyFrame,
  resetFrame,
  SpdyDecoder,
  type SpdyFrame,
} from '../../../src/streaming/spdy-frames.ts';
import { emptyHeaderBlock, HeaderReader, parseHeaders } from '../../../src/streaming/spdy-headers.ts';
import { deflateBlocks, encodeHeaders } from '../../fixtures/spdy-client.ts';

/** The frames in bytes that come in pieces of these sizes; neighbouring data of one stream joined. */
function decode(bytes: Buffer, sizes: readonly number[] = []): SpdyFrame[] {
  const decoder = new SpdyDecoder();
  const frames: SpdyFrame[] = [];
  let at = 0;
  for (const size of [...sizes, bytes.length]) {
    for (const frame of decoder.decode(bytes.subarray(at, at + size))) {
      const last = frames.at(-1);
      const joins = frame.type === 'data' && last?.type === 'data' && last.streamId === frame.streamId && !last.fin;
      if (joins) frames[frames.length - 1] = { ...frame, data: Buffer.concat([last.data, frame.data]) };
      else frames.push(frame);
    }
    at += size;
  }
  return frames;
}

const bytesOf = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

describe('SPDY frames', () => {
  test('are read as the specification draws them', () => {
    const wire = bytesOf(
      '80030001 0100000c 00000005 00000000 2000 aabb' + // SYN_STREAM with FIN, block aabb
        '80030006 00000004 00000007' + // PING
        '80030003 00000008 00000005 00000005' + // RST_STREAM
        '80030004 00000004 00000000' + // SETTINGS
        '80030009 00000008 00000005 00010000' + // WINDOW_UPDATE
        '80030008 00000006 00000005 ccdd' + // HEADERS
        '80030007 00000008 00000005 00000000' + // GOAWAY
        '00000005 01000003 616263', // data with FIN
    );
    expect(decode(wire)).toEqual([
      { type: 'synStream', streamId: 5, fin: true, block: bytesOf('aabb') },
      { type: 'ping', id: 7 },
      { type: 'reset', streamId: 5 },
      { type: 'headers', streamId: 5, fin: false, block: bytesOf('ccdd') },
      { type: 'goAway' },
      { type: 'data', streamId: 5, fin: true, data: Buffer.from('abc') },
    ]);
  });

  test('are the same however the bytes arrive', () => {
    const data = (id: number, text: string, fin: boolean) =>
      Buffer.concat([dataHeader(id, text.length, fin), Buffer.from(text)]);
    const wire = Buffer.concat([
      data(1, 'hello', false),
      pingFrame(9),
      data(3, 'x'.repeat(50), true),
      resetFrame(1, 5),
      data(7, '', true),
      goAwayFrame(7),
    ]);
    const whole = decode(wire);
    expect(whole.map(({ type }) => type)).toEqual(['data', 'ping', 'data', 'reset', 'data', 'goAway']);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 30 }), (sizes) => {
        expect(decode(wire, sizes)).toEqual(whole);
      }),
    );
  });

  test.each([
    ['another version', '80020006 00000004 00000007'],
    ['a short frame', '80030003 00000004 00000005'],
    ['a control frame without measure', '80030001 00ffffff'],
  ])('%s is refused', (_name, hex) => {
    expect(() => decode(bytesOf(hex))).toThrow(expect.objectContaining({ kind: 'InvalidArgument' }));
  });
});

describe('SPDY headers', () => {
  test('of many blocks share one zlib stream with the dictionary of the specification', async () => {
    using reader = new HeaderReader();
    const sets = [{ streamType: 'error', port: '80' }, { streamType: 'data', port: '80' }, {}];
    const blocks = await deflateBlocks(sets.map((set) => encodeHeaders(new Map(Object.entries(set)))));
    const read = [];
    for (const block of blocks) read.push(Object.fromEntries(await reader.read(block)));
    expect(read).toEqual([{ streamtype: 'error', port: '80' }, { streamtype: 'data', port: '80' }, {}]);
  });

  test('that inflate to more than is sensible are refused', async () => {
    using reader = new HeaderReader();
    const [bomb] = await deflateBlocks([Buffer.alloc(10 << 20)]);
    await expect(reader.read(bomb ?? Buffer.alloc(0))).rejects.toMatchObject({ kind: 'InvalidArgument' });
  });

  test('that are no zlib stream are refused', async () => {
    using reader = new HeaderReader();
    await expect(reader.read(Buffer.from('not zlib at all'))).rejects.toMatchObject({ kind: 'InvalidArgument' });
  });

  test.each(['', '00000001', '00000001 00000002 61', '7fffffff'])('cut off (%s) are refused', (hex) => {
    expect(() => parseHeaders(bytesOf(hex))).toThrow(expect.objectContaining({ kind: 'InvalidArgument' }));
  });

  test('of our replies are an empty block to any inflater, at once and again', async () => {
    const inflate = createInflate({ dictionary: SPDY_DICTIONARY, flush: constants.Z_SYNC_FLUSH });
    const chunks: Buffer[] = [];
    inflate.on('data', (chunk: Buffer) => chunks.push(chunk));
    for (const first of [true, false, false]) {
      const block = replyFrame(1, emptyHeaderBlock(first)).subarray(12);
      await new Promise<void>((resolve) => inflate.write(block, () => resolve()));
    }
    inflate.destroy();
    expect(Buffer.concat(chunks)).toEqual(Buffer.alloc(12));
  });
});
