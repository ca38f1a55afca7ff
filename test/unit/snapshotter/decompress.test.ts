import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, open, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { GrowingFileWriter } from '../../../src/base/growing-file.ts';
import { decompress, detectCompression } from '../../../src/snapshotter/decompress.ts';
import { SourceReader } from '../../../src/snapshotter/source-reader.ts';
import { makeTar } from '../../fixtures/tar-writer.ts';

/** Compresses badly enough to need several chunks. */
const text = Buffer.concat([Buffer.from('hello '.repeat(1000)), randomBytes(3 << 20), Buffer.alloc(1 << 20)]);
const half = text.length >> 1;
const skippable = Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 5, 0, 0, 0]), Buffer.from('12345')]);

let directory = '';
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cairn-decompress-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

async function inflate(file: Buffer) {
  const path = join(directory, 'blob');
  await writeFile(path, file);
  await using source = await SourceReader.open({ path, algorithm: 'sha256' }, new AbortController().signal);
  const chunks: Buffer[] = [];
  for await (const chunk of decompress(source)) chunks.push(Buffer.from(chunk));
  await source.drain();
  return { output: Buffer.concat(chunks), digest: source.digest(), sizeBytes: source.offset };
}

describe('decompression', () => {
  test.each([
    ['gzip', gzipSync(text)],
    [
      'gzip of several members',
      Buffer.concat([gzipSync(text.subarray(0, half)), gzipSync(Buffer.alloc(0)), gzipSync(text.subarray(half))]),
    ],
    ['gzip with zeroes behind it', Buffer.concat([gzipSync(text), Buffer.alloc(2000)])],
    ['zstd', zstdCompressSync(text)],
    [
      'zstd of several frames',
      Buffer.concat([zstdCompressSync(text.subarray(0, half)), zstdCompressSync(text.subarray(half))]),
    ],
    ['zstd between skippable frames', Buffer.concat([skippable, zstdCompressSync(text), skippable])],
    ['nothing', text],
  ])('%s comes out whole, and the file is digested to its end', async (_, file) => {
    const { output, digest, sizeBytes } = await inflate(file);
    expect(output.equals(text)).toBe(true);
    expect(digest).toBe(`sha256:${createHash('sha256').update(file).digest('hex')}`);
    expect(sizeBytes).toBe(file.length);
  });

  test.each([
    ['gzip that was cut', gzipSync(text).subarray(0, -20)],
    ['gzip with a changed byte', Buffer.from(gzipSync(text)).fill(0x55, 5000, 5010)],
    [
      'gzip with a wrong checksum',
      Buffer.concat([gzipSync(text).subarray(0, -8), Buffer.alloc(4, 0x55), gzipSync(text).subarray(-4)]),
    ],
    ['zstd that was cut', zstdCompressSync(text).subarray(0, -20)],
    ['zstd with a changed header', Buffer.from(zstdCompressSync(text)).fill(0xff, 4, 12)],
  ])('%s is DataLoss', async (_, file) => {
    await expect(inflate(file)).rejects.toMatchObject({ kind: 'DataLoss' });
  });

  test('other compressions are named, and a tar or anything else is taken as it is', () => {
    expect(() => detectCompression(Buffer.from('BZh91AY'))).toThrow(/bzip2/);
    expect(() => detectCompression(Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]))).toThrow(/xz/);
    expect(detectCompression(makeTar([{ name: 'a' }]))).toBe('none');
    expect(detectCompression(deflateSync('x'))).toBe('none');
    expect(detectCompression(Buffer.alloc(0))).toBe('none');
  });
});

describe('a file that grows', () => {
  test('is followed to its end', async () => {
    const path = join(directory, 'growing');
    const file = gzipSync(text);
    await writeFile(path, '');
    const writer = new GrowingFileWriter();
    await using source = await SourceReader.open(
      { path, algorithm: 'sha512', progress: writer.shared },
      new AbortController().signal,
    );
    const growing = (async () => {
      await using handle = await open(path, 'a');
      for (let at = 0; at < file.length; at += 100_000) {
        await handle.write(file.subarray(at, at + 100_000));
        writer.publish(Math.min(file.length, at + 100_000));
        if (at % 500_000 === 0) await new Promise((resolve) => setTimeout(resolve, 2));
      }
      writer.complete();
    })();
    const chunks: Buffer[] = [];
    for await (const chunk of decompress(source)) chunks.push(chunk);
    await source.drain();
    await growing;
    expect(Buffer.concat(chunks).equals(text)).toBe(true);
    expect(source.digest()).toBe(`sha512:${createHash('sha512').update(file).digest('hex')}`);
  });

  test('ends in Aborted when it is abandoned, and at once when the reader is cancelled', async () => {
    const path = join(directory, 'growing');
    await writeFile(path, '');
    const writer = new GrowingFileWriter();
    await using first = await SourceReader.open(
      { path, algorithm: 'sha256', progress: writer.shared },
      new AbortController().signal,
    );
    const controller = new AbortController();
    await using second = await SourceReader.open(
      { path, algorithm: 'sha256', progress: new GrowingFileWriter().shared },
      controller.signal,
    );
    const cancelled = second.next();
    controller.abort();
    await expect(cancelled).rejects.toMatchObject({ kind: 'Cancelled' });
    writer.abandon();
    await expect(first.next()).rejects.toMatchObject({ kind: 'Aborted' });
  });
});
