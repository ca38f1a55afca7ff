import { appendFile, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { readLines } from '../../../src/api/log-file.ts';
import { parseLogLine, parseTimeNs } from '../../../src/api/log-line.ts';

const line = (text: string) => {
  const parsed = parseLogLine(Buffer.from(text));
  return { ...parsed, text: parsed.text.toString() };
};

describe('a log line', () => {
  const time = '2026-11-22T15:03:50.123456789+00:00';
  const timeNs = 1_795_359_830_123_456_789n;

  test.each([
    [`${time} stdout F hello  world `, { stream: 'stdout', timeNs, text: 'hello  world ', partial: false }],
    [`${time} stderr P half`, { stream: 'stderr', timeNs, text: 'half', partial: true }],
    [`${time} stdout P:x half`, { stream: 'stdout', timeNs, text: 'half', partial: true }],
    [`${time} stdout F `, { stream: 'stdout', timeNs, text: '', partial: false }],
    [`${time} stdout F`, { stream: 'stdout', timeNs, text: '', partial: false }],
    ['', { stream: 'stdout', timeNs: 0n, text: '', partial: false }],
    ['not a log line', { stream: 'stdout', timeNs: 0n, text: 'not a log line', partial: false }],
    [`${time} stdin F x`, { stream: 'stdout', timeNs: 0n, text: `${time} stdin F x`, partial: false }],
  ])('%j', (text, expected) => {
    expect(line(text)).toEqual(expected);
  });

  test.each([
    ['2026-11-22T15:03:50Z', 1_795_359_830_000_000_000n],
    ['2026-11-22T16:03:50.5+01:00', 1_795_359_830_500_000_000n],
    ['1969-12-31T23:59:59.000000001Z', -999_999_999n],
    ['2026-13-22T15:03:50Z', undefined],
    ['2026-11-22 15:03:50Z', undefined],
    ['yesterday', undefined],
  ])('has a time like %s', (text, expected) => {
    expect(parseTimeNs(text)).toBe(expected);
  });
});

describe('a log file', () => {
  let directory: string;
  let path: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'cairn-log-'));
    path = join(directory, 'log');
  });
  afterEach(() => rm(directory, { recursive: true, force: true }));

  const controller = new AbortController();

  async function read(tailLines?: number, more: () => boolean = () => false, signal = controller.signal) {
    const lines: string[] = [];
    for await (const batch of readLines(path, { tailLines, more, signal })) lines.push(...batch.map(String));
    return lines;
  }

  test('is read whole, its unfinished last line too', async () => {
    await writeFile(path, 'one\n\nthree\nfour');
    expect(await read()).toEqual(['one', '', 'three', 'four']);
  });

  test('that is not there is empty', async () => {
    expect(await read()).toEqual([]);
  });

  test.each([
    [0, []],
    [1, ['four']],
    [2, ['three', 'four']],
    [4, ['one', 'two', 'three', 'four']],
    [9, ['one', 'two', 'three', 'four']],
  ])('shows its last %i lines', async (count, expected) => {
    await writeFile(path, 'one\ntwo\nthree\nfour\n');
    expect(await read(count)).toEqual(expected);
    await writeFile(path, 'one\ntwo\nthree\nfour');
    expect(await read(count)).toEqual(expected);
  });

  const written = (text: string, tag: string, stream = 'stdout') =>
    `2026-01-02T03:04:05.1+00:00 ${stream} ${tag} ${text}`;

  test('whose lines were written in pieces counts each once, be they longer than a block', async () => {
    const pieces = [written('one', 'F'), written('t', 'P'), written('w'.repeat(150_000), 'P'), written('o', 'F')];
    const more = [written('three', 'F', 'stderr'), written('unfini', 'P')];
    await writeFile(path, `${[...pieces, ...more].join('\n')}\n`);
    const all = [...pieces, ...more];
    expect(await read(1)).toEqual(all.slice(5));
    expect(await read(2)).toEqual(all.slice(4));
    expect(await read(3)).toEqual(all.slice(1));
    expect(await read(4)).toEqual(all);
    expect(await read(9)).toEqual(all);
  });

  test('of many blocks shows its last lines and all of its lines', async () => {
    const lines = Array.from({ length: 20_000 }, (_, index) => `${index} ${'x'.repeat(index % 97)}`);
    await writeFile(path, `${lines.join('\n')}\n`);
    expect(await read(15_000)).toEqual(lines.slice(-15_000));
    expect(await read()).toEqual(lines);
  });

  test('with a line that has no end is handed on in pieces', async () => {
    await writeFile(path, Buffer.alloc(3 << 20, 'x'));
    const lines = await read();
    expect(lines.join('')).toHaveLength(3 << 20);
    expect(lines.length).toBeGreaterThan(2);
  });

  test('that grows and is rotated is followed to the end without a lost line', async () => {
    let running = true;
    const following = read(undefined, () => running);
    await sleep(50);
    await writeFile(path, 'a\n');
    await sleep(150);
    await appendFile(path, 'b\n');
    await rename(path, `${path}.1`);
    await appendFile(`${path}.1`, 'c');
    await writeFile(path, 'd\ne');
    await sleep(250);
    await appendFile(path, 'f\n');
    running = false;
    expect(await following).toEqual(['a', 'b', 'c', 'd', 'ef']);
  });

  test('is followed until the reader leaves', async () => {
    await writeFile(path, 'a\n');
    const leaving = new AbortController();
    const following = read(undefined, () => true, leaving.signal);
    setTimeout(() => leaving.abort(), 50);
    await expect(following).rejects.toMatchObject({ name: 'AbortError' });
  });
});
