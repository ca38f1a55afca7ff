import { describe, expect, test } from '@jest/globals';
import type { ByteString } from '../../../src/snapshotter/byte-string.ts';
import { byteString, bytesOfText, pathOf, readable } from '../../../src/snapshotter/byte-string.ts';
import { baseOf, isBelow, joinPath, type LayerPath, layerPath, parentOf } from '../../../src/snapshotter/layer-path.ts';
import { markerOf, whiteoutName } from '../../../src/snapshotter/whiteout.ts';

const bytes = (text: string) => text as ByteString;
const refused = expect.objectContaining({ kind: 'InvalidArgument' });

describe('the door for names', () => {
  test.each([
    ['etc/passwd', 'etc/passwd'],
    ['./etc//passwd', 'etc/passwd'],
    ['/etc/passwd', 'etc/passwd'],
    ['///', ''],
    ['.', ''],
    ['etc/', 'etc'],
    ['a/./b/../c', 'a/c'],
    ['.hidden/..two/...', '.hidden/..two/...'],
    ['a/b/../..', ''],
  ])('%j is the path %j', (unsafe, path) => {
    expect(layerPath(bytes(unsafe))).toBe(path);
  });

  test.each(['..', '../x', 'a/../../x', '/..', './../etc', 'a/b/../../../c', 'a\0b', `a/${'x'.repeat(256)}`])(
    '%j is refused',
    (unsafe) => {
      expect(() => layerPath(bytes(unsafe))).toThrow(refused);
    },
  );

  test('paths come apart and together', () => {
    const path = layerPath(bytes('a/b/c'));
    expect([parentOf(path), baseOf(path)]).toEqual(['a/b', 'c']);
    expect([parentOf(bytes('a') as LayerPath), baseOf(bytes('a') as LayerPath)]).toEqual(['', 'a']);
    expect(joinPath(parentOf(path), baseOf(path))).toBe(path);
    expect(joinPath('' as LayerPath, bytes('a'))).toBe('a');
    expect([isBelow(path, bytes('a') as LayerPath), isBelow(path, path), isBelow(path, '' as LayerPath)]).toEqual([
      true,
      false,
      true,
    ]);
    expect(isBelow(bytes('ab') as LayerPath, bytes('a') as LayerPath)).toBe(false);
  });
});

describe('names as bytes', () => {
  test('bytes that are no text go to the kernel unchanged', () => {
    const raw = Buffer.from([0x61, 0xff, 0xe4]);
    expect(pathOf(byteString(raw))).toEqual(raw);
    expect(pathOf(bytesOfText('ä'))).toEqual(Buffer.from('ä'));
    expect(pathOf(bytesOfText('plain'))).toBe('plain');
  });

  test('a message shows text as text, and no control character', () => {
    expect(readable(bytesOfText('ä\n\x1b[2J'))).toBe('"ä\\n\\u001b[2J"');
    expect(readable(bytesOfText('x'.repeat(1000))).length).toBeLessThan(300);
  });
});

describe('whiteout names', () => {
  test.each([
    ['.wh.passwd', { kind: 'whiteout', name: 'passwd' }],
    ['.wh..hidden', { kind: 'whiteout', name: '.hidden' }],
    ['.wh..wh..opq', { kind: 'opaque' }],
    ['.wh..wh.plnk', { kind: 'metadata' }],
    ['.wh..wh.aufs', { kind: 'metadata' }],
    ['passwd', undefined],
    ['.wh', undefined],
    ['x.wh.y', undefined],
  ])('%j means %j', (name, marker) => {
    expect(markerOf(bytes(name))).toEqual(marker);
  });

  test.each(['.wh.', '.wh..', '.wh...'])('%j is refused: it would hide the directory itself or another', (name) => {
    expect(() => markerOf(bytes(name))).toThrow(refused);
  });

  test('the way back is the same', () => {
    expect(markerOf(whiteoutName(bytes('x')))).toEqual({ kind: 'whiteout', name: 'x' });
  });
});
