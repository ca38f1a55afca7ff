import { describe, expect, test } from '@jest/globals';
import { negotiate } from '../../../src/streaming/handshake.ts';
import { ResizeReader } from '../../../src/streaming/resize.ts';
import { exitStatus, statusText } from '../../../src/streaming/status.ts';
import { decodeMessage, encodeMessage } from '../../../src/streaming/websocket-codec.ts';

const BINARY = { base64: false, closes: false };
const BASE64 = { base64: true, closes: false };
const V5 = { base64: false, closes: true };

describe('WebSocket channels', () => {
  test.each([BINARY, BASE64, V5])('carry any bytes there and back (%j)', (codec) => {
    const data = Buffer.from(Array.from({ length: 256 }, (_, index) => index));
    expect(decodeMessage(codec, encodeMessage(codec, 3, data))).toEqual({ channel: 3, data, close: false });
  });

  test('look as the examples in Kubernetes say', () => {
    expect(encodeMessage(BINARY, 0, Buffer.from('foo\n'))).toEqual(Buffer.from([0, 102, 111, 111, 10]));
    expect(encodeMessage(BASE64, 0, Buffer.from('foo\n')).toString()).toBe('0Zm9vCg==');
  });

  test('end by 255 in version 5 only', () => {
    expect(decodeMessage(V5, Buffer.from([255, 0]))).toEqual({ channel: 0, data: Buffer.alloc(0), close: true });
    expect(decodeMessage(BINARY, Buffer.from([255, 0]))).toBeUndefined();
    expect(decodeMessage(V5, Buffer.from([255]))).toBeUndefined();
  });

  test('carry nothing in an empty message, and no broken base64', () => {
    expect(decodeMessage(BINARY, Buffer.alloc(0))).toBeUndefined();
    expect(() => decodeMessage(BASE64, Buffer.from('0not!base64'))).toThrow(
      expect.objectContaining({ kind: 'InvalidArgument' }),
    );
  });
});

describe('protocols', () => {
  test('the client’s first choice that the server has is taken', () => {
    expect(negotiate(['v9', 'v3', 'v4'], ['v4', 'v3'])).toBe('v3');
    expect(negotiate(['v9'], ['v4', 'v3'])).toBeUndefined();
  });

  test('a client that names none gets the oldest', () => {
    expect(negotiate([], ['v4'])).toBe('');
    expect(negotiate([''], ['v4'])).toBe('');
  });
});

describe('terminal sizes', () => {
  test('are read one after the other, however they are cut; the last counts', () => {
    const reader = new ResizeReader();
    expect(reader.read(Buffer.from('{"Width":80,"Hei'))).toBeUndefined();
    expect(reader.read(Buffer.from('ght":24}{"Width":100,"Height":50}\n{"Wid'))).toEqual({ rows: 50, columns: 100 });
    expect(reader.read(Buffer.from('th":1,"Height":2}'))).toEqual({ rows: 2, columns: 1 });
  });

  test.each(['{"Width":0,"Height":24}', '{"Width":80}', '{]}', '{"Width":70000,"Height":1}', '[1]}', 'null}'])(
    '%s is none, and what follows is read',
    (bad) => {
      const reader = new ResizeReader();
      expect(reader.read(Buffer.from(bad))).toBeUndefined();
      expect(reader.read(Buffer.from('{"width":3,"height":4}'))).toEqual({ rows: 4, columns: 3 });
    },
  );

  test('endless text is not kept', () => {
    const reader = new ResizeReader();
    for (let count = 0; count < 100; count++) reader.read(Buffer.alloc(1000, 'x'));
    expect(reader.read(Buffer.from('}{"Width":3,"Height":4}'))).toEqual({ rows: 4, columns: 3 });
  });
});

describe('the last word', () => {
  test('is a Status with the exit code for those who understand it', () => {
    expect(JSON.parse(statusText(exitStatus(0), true))).toEqual({ metadata: {}, status: 'Success' });
    expect(JSON.parse(statusText(exitStatus(7), true))).toMatchObject({
      status: 'Failure',
      reason: 'NonZeroExitCode',
      details: { causes: [{ reason: 'ExitCode', message: '7' }] },
    });
    expect(JSON.parse(statusText({ kind: 'failure', message: 'why' }, true))).toMatchObject({
      status: 'Failure',
      reason: 'InternalError',
      message: 'why',
    });
  });

  test('is text for the others, and nothing after a success', () => {
    expect(statusText(exitStatus(0), false)).toBe('');
    expect(statusText(exitStatus(7), false)).toContain('7');
    expect(statusText({ kind: 'failure', message: 'why' }, false)).toBe('why');
  });
});
