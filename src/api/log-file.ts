/**
 * Reading a log file that grows and that is rotated (renamed, and begun anew under its name) meanwhile.
 *
 * A file is read to its end before the one that took its name; nothing is lost as long as rotation does not happen
 * twice between two looks.
 */
import { type FileHandle, open, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../base/errors.ts';
import { isPartial } from './log-line.ts';

const CHUNK_BYTES = 64 * 1024;
/** How often a reader that waits for more looks. */
const LOOK_INTERVAL_MS = 100;
/** The writer splits lines long before; what has no line end within this is handed on in pieces. */
const LINE_BYTES_MAX = 1024 * 1024;
const NEWLINE = 0x0a;
/** Time, stream and tags of a line are in these. */
const HEAD_BYTES = 64;

export interface ReadLinesOptions {
  /** Only this many last lines (in pieces or not) of what is there now; undefined: all. */
  readonly tailLines: number | undefined;
  /** Asked before each look at the end of the file; false ends the reading once the end is reached. */
  readonly more: () => boolean;
  readonly signal: AbortSignal;
}

/** Batches of lines without their line ends. A file that is not there yet is waited for as the end of one is. */
export async function* readLines(path: string, options: ReadLinesOptions): AsyncGenerator<Buffer[], void, undefined> {
  const { more, signal } = options;
  let { tailLines } = options;
  for (;;) {
    const last = !more();
    const file = await openIfThere(path);
    if (file) {
      try {
        const rotated = yield* readFile(file, path, { ...options, tailLines });
        if (!rotated) return;
      } finally {
        await file.close();
      }
      tailLines = undefined;
      continue;
    }
    if (last) return;
    await sleep(LOOK_INTERVAL_MS, undefined, { signal });
  }
}

/** True when another file has taken the name, false when there will be no more. */
async function* readFile(
  file: FileHandle,
  path: string,
  { tailLines, more, signal }: ReadLinesOptions,
): AsyncGenerator<Buffer[], boolean, undefined> {
  let offset = tailLines === undefined ? 0 : await tailOffset(file, tailLines);
  let rest: Buffer = Buffer.alloc(0);
  for (;;) {
    // Both are asked before the read: what was written before the answer is read.
    const last = !more();
    const rotated = await isRotated(file, path);
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES, offset);
    signal.throwIfAborted();
    if (bytesRead > 0) {
      offset += bytesRead;
      const split = splitLines(Buffer.concat([rest, buffer.subarray(0, bytesRead)]));
      rest = split.rest;
      if (split.lines.length > 0) yield split.lines;
      continue;
    }
    if (rotated || last) {
      if (rest.length > 0) yield [rest];
      return rotated;
    }
    await sleep(LOOK_INTERVAL_MS, undefined, { signal });
  }
}

function splitLines(data: Buffer): { readonly lines: Buffer[]; readonly rest: Buffer } {
  const lines: Buffer[] = [];
  let start = 0;
  for (let end = data.indexOf(NEWLINE); end >= 0; end = data.indexOf(NEWLINE, start)) {
    lines.push(data.subarray(start, end));
    start = end + 1;
  }
  const rest = data.subarray(start);
  if (rest.length <= LINE_BYTES_MAX) return { lines, rest };
  return { lines: [...lines, rest], rest: Buffer.alloc(0) };
}

/**
 * Where the last `lines` lines of the file begin, found from its end. A line that was written in pieces counts once; where
 * those of the two streams are mixed, the first line shown may lack its beginning.
 */
async function tailOffset(file: FileHandle, lines: number): Promise<number> {
  const { size } = await file.stat();
  if (lines === 0) return size;
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  let found = 0;
  let next = size;
  for (let end = size; end > 0; ) {
    const start = Math.max(0, end - CHUNK_BYTES);
    const { bytesRead } = await file.read(buffer, 0, end - start, start);
    for (let at = bytesRead - 1; at >= 0; at--) {
      // The line end at the end of the file ends the last line and begins none.
      if (buffer[at] !== NEWLINE || start + at === size - 1) continue;
      const line = start + at + 1;
      const head = buffer.subarray(at + 1, bytesRead);
      const isShort = head.length < HEAD_BYTES && line + head.length < size;
      // What ends the file ends a line, whatever it says.
      const ends = next === size || !isPartial(isShort ? await readHead(file, line) : head.subarray(0, HEAD_BYTES));
      if (ends && ++found > lines) return next;
      next = line;
    }
    end = start;
  }
  const endsFirst = next === size || !isPartial(await readHead(file, 0));
  return endsFirst && found >= lines ? next : 0;
}

async function readHead(file: FileHandle, offset: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(HEAD_BYTES), 0, HEAD_BYTES, offset);
  return buffer.subarray(0, bytesRead);
}

async function isRotated(file: FileHandle, path: string): Promise<boolean> {
  const [ours, named] = await Promise.all([file.stat(), stat(path).catch(absent)]);
  return named !== undefined && (named.ino !== ours.ino || named.dev !== ours.dev);
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  return open(path, 'r').catch(absent);
}

function absent(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw error;
}
