/**
 * The bytes of a layer's tar. What it is compressed with is seen from its first bytes, not from a name or media type,
 * which are often wrong.
 */
import { pipeline } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { brokenArchive, refusedArchive } from './archive-error.ts';
import type { SourceReader } from './source-reader.ts';

export type Compression = 'gzip' | 'zstd' | 'none';

const OUTPUT_BYTES = 1024 * 1024;
const MAGIC_BYTES = 6;

/** Yields the uncompressed bytes. Afterwards the source may have bytes left that belong to nothing: `drain` it. */
export async function* decompress(source: SourceReader): AsyncGenerator<Buffer, void, undefined> {
  const head = await readHead(source);
  const input = prepend(head, source);
  const compression = detectCompression(head);
  if (compression === 'none') {
    yield* input;
    return;
  }
  // The inflating itself runs in libuv's pool, beside the digesting and unpacking in this thread.
  const inflater =
    compression === 'gzip'
      ? createGunzip({ chunkSize: OUTPUT_BYTES })
      : createZstdDecompress({ chunkSize: OUTPUT_BYTES });
  let inputFailure: unknown;
  const guarded = (async function* () {
    try {
      yield* input;
    } catch (error) {
      inputFailure = error;
      throw error;
    }
  })();
  // Its outcome is the stream's own, which the loop below sees.
  pipeline(guarded, inflater, () => undefined);
  try {
    yield* inflater as AsyncIterable<Buffer>;
  } catch (error) {
    throw inputFailure ?? brokenArchive(`${compression}: ${error instanceof Error ? error.message : error}`, error);
  }
}

export function detectCompression(head: Buffer): Compression {
  if (head[0] === 0x1f && head[1] === 0x8b) return 'gzip';
  // A frame, or one of the skippable frames (0x184d2a50 to 5f, little end first) that some writers put first.
  const magic = head.length >= 4 ? head.readUInt32LE(0) : 0;
  if (magic === 0xfd2fb528 || (magic & 0xfffffff0) === 0x184d2a50) return 'zstd';
  for (const [name, bytes] of UNSUPPORTED) {
    if (head.subarray(0, bytes.length).equals(bytes)) {
      throw refusedArchive(`the layer is compressed with ${name}; gzip, zstd and plain tar are known`);
    }
  }
  return 'none';
}

const UNSUPPORTED: readonly (readonly [string, Buffer])[] = [
  ['bzip2', Buffer.from('BZh')],
  ['xz', Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])],
];

/** At least as many bytes as a magic number has, if there are so many. */
async function readHead(source: SourceReader): Promise<Buffer> {
  let head = Buffer.alloc(0);
  while (head.length < MAGIC_BYTES) {
    const chunk = await source.next();
    if (!chunk) break;
    head = Buffer.concat([head, chunk]);
  }
  return head;
}

async function* prepend(head: Buffer, source: SourceReader): AsyncGenerator<Buffer, void, undefined> {
  if (head.length > 0) yield head;
  for (let chunk = await source.next(); chunk; chunk = await source.next()) yield chunk;
}
