import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { CairnError } from '../../../src/base/errors.ts';
import { createWorkerPool, type WorkerPoolOptions } from '../../../src/base/worker-pool.ts';
import { workerUrl } from '../../../src/base/worker-url.ts';
import type { SampleJob } from '../../fixtures/pool-sample-worker.ts';

function samplePool(options: Partial<WorkerPoolOptions> = {}) {
  const url = workerUrl('../../fixtures/pool-sample-worker', import.meta.url);
  return createWorkerPool<SampleJob, number>({ name: 'sample', url, ...options });
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await sleep(10);
  expect(condition()).toBe(true);
}

describe('worker pool', () => {
  test('one job after the other runs in the same thread, which ends when it was idle long enough', async () => {
    await using pool = samplePool({ idleMs: 50 });
    const first = await pool.run({ verb: 'thread' });
    expect(await pool.run({ verb: 'thread' })).toBe(first);
    expect(pool.threads).toBe(1);
    await until(() => pool.threads === 0);
    expect(await pool.run({ verb: 'thread' })).not.toBe(first);
  });

  test('no more workers than allowed run at once, and only one is kept', async () => {
    await using pool = samplePool({ workersMax: 2 });
    const cells = new SharedArrayBuffer(8);
    const started = new Int32Array(cells);
    const aborts = [new AbortController(), new AbortController(), new AbortController()];
    const runs = aborts.map(({ signal }) => pool.run({ verb: 'wait', cells }, signal).catch((error) => error.kind));
    await until(() => Atomics.load(started, 0) === 2);
    await sleep(30);
    expect(Atomics.load(started, 0)).toBe(2);
    expect(pool.threads).toBe(2);
    aborts[0]?.abort();
    await until(() => Atomics.load(started, 0) === 3);
    for (const abort of aborts) abort.abort();
    expect(await Promise.all(runs)).toEqual(['Cancelled', 'Cancelled', 'Cancelled']);
    await until(() => pool.threads === 1);
  });

  test('an abort reaches the worker, and run settles after the worker stopped', async () => {
    await using pool = samplePool();
    const cells = new SharedArrayBuffer(8);
    const view = new Int32Array(cells);
    const abort = new AbortController();
    const run = pool.run({ verb: 'wait', cells }, abort.signal);
    await until(() => Atomics.load(view, 0) === 1);
    abort.abort(new CairnError('DeadlineExceeded', 'too slow'));
    await expect(run).rejects.toMatchObject({ kind: 'DeadlineExceeded', message: 'too slow' });
    expect(Atomics.load(view, 1)).toBe(1);
  });

  test('a worker that ignores the abort is ended by force', async () => {
    await using pool = samplePool({ abortMs: 50 });
    const cells = new SharedArrayBuffer(8);
    const view = new Int32Array(cells);
    const abort = new AbortController();
    const run = pool.run({ verb: 'spin', cells }, abort.signal);
    await until(() => Atomics.load(view, 0) === 1);
    abort.abort();
    await expect(run).rejects.toMatchObject({ kind: 'Cancelled' });
    expect(await pool.run({ verb: 'thread' })).toBeGreaterThan(0);
  });

  test('errors keep kind and step, code, or name', async () => {
    await using pool = samplePool();
    await expect(pool.run({ verb: 'fail' })).rejects.toMatchObject({
      name: 'CairnError',
      kind: 'DataLoss',
      step: 'sample.fail',
      message: 'the sample is broken',
    });
    await expect(pool.run({ verb: 'fail' })).rejects.toBeInstanceOf(CairnError);
    await expect(pool.run({ verb: 'system' })).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(pool.run({ verb: 'bug' })).rejects.toMatchObject({ name: 'TypeError' });
  });

  test('a worker that dies fails its job only', async () => {
    await using pool = samplePool();
    await expect(pool.run({ verb: 'exit' })).rejects.toMatchObject({ kind: 'Internal' });
    expect(await pool.run({ verb: 'thread' })).toBeGreaterThan(0);
  });

  test('disposing cancels what runs and what waits', async () => {
    const pool = samplePool({ workersMax: 1 });
    const runs = [pool.run({ verb: 'wait' }), pool.run({ verb: 'wait' })].map((run) =>
      run.catch((error) => error.kind),
    );
    await sleep(60);
    await pool[Symbol.asyncDispose]();
    expect(await Promise.all(runs)).toEqual(['Cancelled', 'Cancelled']);
    expect(pool.threads).toBe(0);
  });
});
