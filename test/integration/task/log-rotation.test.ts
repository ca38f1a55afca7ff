import { readFile, rename } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeTaskHost, type TaskHost } from '../../fixtures/task-host.ts';

describe('log rotation', () => {
  let host: TaskHost;
  beforeAll(async () => {
    host = await makeTaskHost();
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });

  test('five rotations while the container writes lose no line and repeat none', async () => {
    const spec = await host.run(['sh', '-c', 'i=0; while [ $i -lt 150000 ]; do i=$((i+1)); echo line $i; done']);
    const logPath = spec.logPath ?? '';
    const pieces: string[] = [];
    for (let n = 1; n <= 5; n++) {
      await sleep(40);
      await rename(logPath, `${logPath}.${n}`);
      pieces.push(`${logPath}.${n}`);
      await host.tasks.reopenLog(spec.id);
    }
    await host.tasks.wait(spec.id);
    const texts = await Promise.all([...pieces, logPath].map((path) => readFile(path, 'utf8')));
    // conmon writes what it reads at a time: a line that is cut there is marked as partial.
    const output = texts
      .join('')
      .replace(/^\S+ stdout P (.*)\n/gm, '$1')
      .replace(/\S{35} stdout F /g, '');
    expect(output.split('\n').slice(0, -1)).toEqual(Array.from({ length: 150_000 }, (_, n) => `line ${n + 1}`));
    expect(texts.filter((text) => text !== '').length).toBeGreaterThan(2);
    await host.tasks.delete(spec);
  });

  test('a reopen without a rename keeps what was written', async () => {
    const spec = await host.run(['sh', '-c', 'echo first; sleep 2; echo second']);
    await sleep(100);
    await host.tasks.reopenLog(spec.id);
    await host.tasks.wait(spec.id);
    expect((await host.log(spec)).map(({ text }) => text)).toEqual(['first', 'second']);
    await host.tasks.delete(spec);
  });

  test('of a container that has ended it is FailedPrecondition', async () => {
    const spec = await host.run(['true']);
    await host.tasks.wait(spec.id);
    await expect(host.tasks.reopenLog(spec.id)).rejects.toMatchObject({ kind: 'FailedPrecondition' });
    await host.tasks.delete(spec);
  });
});
