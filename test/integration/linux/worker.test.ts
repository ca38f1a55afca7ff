import { once } from 'node:events';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, test } from '@jest/globals';

test('system calls work in several worker threads at once', async () => {
  const run = async () => {
    const directory = mkdtempSync(join(tmpdir(), 'cairn-linux-worker-'));
    const url = new URL('../../fixtures/linux-sample-worker.ts', import.meta.url);
    const worker = new Worker(url, { workerData: directory });
    const [[results]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
    rmdirSync(directory);
    return results;
  };
  const expected = ['b', 0x103n, 'EXDEV', true, true];
  expect(await Promise.all([run(), run(), run()])).toEqual([expected, expected, expected]);
});
