/** What conmon writes of a container's output: the CRI log format, whatever the bytes. */
import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { parseLogLine } from '../../../src/api/log-line.ts';
import { makeTaskHost, type TaskHost } from '../../fixtures/task-host.ts';

let host: TaskHost;
beforeAll(async () => {
  host = await makeTaskHost();
});
afterEach(() => host.clean());
afterAll(async () => {
  await host[Symbol.asyncDispose]();
});

interface Piece {
  readonly stream: string;
  readonly partial: boolean;
  readonly text: Buffer;
}

/** Every line of a log file, which must all have the form. */
async function pieces(path: string): Promise<Piece[]> {
  const data = await readFile(path);
  const lines: Piece[] = [];
  for (let start = 0, end = data.indexOf(10); end >= 0; start = end + 1, end = data.indexOf(10, start)) {
    const line = parseLogLine(data.subarray(start, end));
    expect(line.timeNs).toBeGreaterThan(0n);
    lines.push(line);
  }
  expect(data.at(-1)).toBe(10);
  return lines;
}

/** The output as the container wrote it. */
function joined(lines: readonly Piece[], stream = 'stdout'): Buffer {
  const own = lines.filter((line) => line.stream === stream);
  return Buffer.concat(own.flatMap(({ text, partial }) => (partial ? [text] : [text, Buffer.from('\n')])));
}

async function ran(args: readonly string[], overrides: Parameters<TaskHost['run']>[1] = {}): Promise<string> {
  const spec = await host.run(args, overrides);
  await host.tasks.wait(spec.id);
  return spec.logPath ?? '';
}

describe('a log', () => {
  test('keeps binary output byte by byte', async () => {
    // Every byte, line ends and zeros among them, and nothing that is text in any encoding.
    const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, n) => (n * n * 31 + (n >> 7)) & 0xff));
    await writeFile(join(host.directory, 'rootfs/blob'), Buffer.concat([bytes, Buffer.from('\n')]));
    const lines = await pieces(await ran(['cat', '/blob']));
    expect(joined(lines).equals(Buffer.concat([bytes, Buffer.from('\n')]))).toBe(true);
  });

  test('splits a long line into pieces that are marked, and the kubelet can read each', async () => {
    const line = Buffer.alloc(200_000, 'long ');
    await writeFile(join(host.directory, 'rootfs/line'), Buffer.concat([line, Buffer.from('\nshort\n')]));
    const lines = await pieces(await ran(['cat', '/line']));
    expect(lines.length).toBeGreaterThan(10);
    // The kubelet takes a line of at most 16 KiB with its head.
    for (const { text } of lines) expect(text.length).toBeLessThan(16_000);
    expect(lines.filter(({ partial }) => !partial)).toHaveLength(2);
    expect(joined(lines).toString()).toBe(`${line}\nshort\n`);
  });

  test('keeps the pieces of both streams apart, and an end without a line end', async () => {
    const script = 'printf out-; printf err- >&2; sleep 0.2; echo put; echo or >&2; printf last';
    const lines = await pieces(await ran(['sh', '-c', script]));
    expect(joined(lines).toString()).toMatch(/^out-put\nlast\n?$/);
    expect(joined(lines, 'stderr').toString()).toBe('err-or\n');
  });

  test('goes on while no daemon runs', async () => {
    const spec = await host.run(['sh', '-c', 'i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo $i; sleep 0.02; done']);
    await sleep(100);
    await host.tasks[Symbol.asyncDispose]();
    await sleep(400);
    await host.restart();
    await host.tasks.recover(spec);
    await host.tasks.wait(spec.id);
    const expected = Array.from({ length: 40 }, (_, n) => `${n + 1}\n`).join('');
    expect(joined(await pieces(spec.logPath ?? '')).toString()).toBe(expected);
  });

  test('with a size cap begins anew when it is reached, keeps the newest lines whole, and can still be rotated', async () => {
    const cap = 64 * 1024;
    const script =
      'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo line $i; done; sleep 0.5; echo end; sleep 0.3; echo after';
    const spec = await host.run(['sh', '-c', script], { task: { logSizeBytesMax: cap } });
    const path = spec.logPath ?? '';
    let largest = 0;
    const deadline = Date.now() + 20_000;
    for (let text = ''; !text.includes(' F end\n') && Date.now() < deadline; await sleep(2)) {
      largest = Math.max(largest, (await stat(path)).size);
      text = await readFile(path, 'latin1');
    }
    const kept = joined(await pieces(path))
      .toString()
      .trim()
      .split('\n');
    await rename(path, `${path}.1`);
    await host.tasks.reopenLog(spec.id);
    await host.tasks.wait(spec.id);
    // conmon looks before it writes what it has read at a time: at most 8 KiB of output, with a head for each line.
    expect(largest).toBeGreaterThan(0);
    expect(largest).toBeLessThan(cap + 64 * 1024);
    expect(kept.at(-1)).toBe('end');
    const numbers = kept.slice(1, -1).map((line) => Number(line.slice('line '.length)));
    expect(numbers).toEqual(Array.from({ length: numbers.length }, (_, n) => 30_000 - numbers.length + 1 + n));
    expect(joined(await pieces(path)).toString()).toBe('after\n');
  });
});
