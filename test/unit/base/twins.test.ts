import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { CairnError } from '../../../src/base/errors.ts';
import { stage } from '../../../src/base/stages.ts';
import { Twins } from '../../../src/base/twins.ts';

const LATE = new CairnError('DeadlineExceeded', 'the deadline passed');
const CANCELLED = new CairnError('Cancelled', 'the caller left');

let made: string[];
let undone: string[];
let gate: PromiseWithResolvers<void>;
let there: boolean;
let twins: Twins<string>;

beforeEach(() => {
  [made, undone, there] = [[], [], true];
  gate = Promise.withResolvers();
  twins = new Twins({ step: 'pod.run', isThere: () => there, lingerMs: 50 });
});
afterEach(() => twins[Symbol.asyncDispose]());

/** Takes as long as the gate is closed, in stage `network.add`; is undone when it is aborted. */
async function work(signal: AbortSignal): Promise<string> {
  const id = `id${made.length + undone.length + 1}`;
  const aborted = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
  try {
    await stage('network.add', () => Promise.race([gate.promise, aborted]));
  } catch (error) {
    await sleep(20);
    undone.push(id);
    throw error;
  }
  made.push(id);
  return id;
}

const call = (signal?: AbortSignal, config: object = { image: 'a', labels: { x: '1', y: '2' } }) => {
  const called = twins.run({ name: 'web', what: 'pod web', config }, signal, work);
  called.catch(() => undefined);
  return called;
};

describe('a retry', () => {
  test('that meets its twin at work waits and gets the same result', async () => {
    const late = new AbortController();
    const first = call(late.signal);
    await sleep(5);
    late.abort(LATE);
    await expect(first).rejects.toMatchObject({
      kind: 'DeadlineExceeded',
      message: expect.stringMatching(/^pod web: .* for a retry to find, in stage network\.add for 0\.\d s$/),
    });
    // The keys in another order: Go writes a map in any.
    const retry = call(undefined, { labels: { y: '2', x: '1' }, image: 'a' });
    await sleep(80);
    gate.resolve();
    expect(await retry).toBe('id1');
    expect({ made, undone }).toEqual({ made: ['id1'], undone: [] });
  });

  test('whose own deadline passes is told at which stage its twin is and for how long', async () => {
    const late = new AbortController();
    const first = call();
    await sleep(150);
    const retry = call(late.signal);
    await sleep(5);
    late.abort(LATE);
    await expect(retry).rejects.toMatchObject({
      kind: 'DeadlineExceeded',
      message: expect.stringMatching(/^pod web: .*an earlier call.* in stage network\.add for 0\.[12] s$/),
    });
    gate.resolve();
    expect(await first).toBe('id1');
  });

  test('takes over, once, what was finished while nobody waited', async () => {
    const late = new AbortController();
    const first = call(late.signal);
    late.abort(LATE);
    await expect(first).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    gate.resolve();
    await sleep(5);
    expect(await call()).toBe('id1');
    expect(await call()).toBe('id2');
  });

  test('does not take over what is gone by then', async () => {
    const late = new AbortController();
    const first = call(late.signal);
    late.abort(LATE);
    await expect(first).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    gate.resolve();
    await sleep(5);
    there = false;
    expect(await call()).toBe('id2');
  });

  test('that wants something else is AlreadyExists and names the stage', async () => {
    const first = call();
    await sleep(5);
    await expect(call(undefined, { image: 'b' })).rejects.toMatchObject({
      kind: 'AlreadyExists',
      message: expect.stringContaining('stage network.add'),
    });
    gate.resolve();
    await first;
  });
});

describe('a caller who gives up', () => {
  test('by cancelling has the work undone before he is answered, and a later call begins anew', async () => {
    const left = new AbortController();
    const first = call(left.signal);
    await sleep(5);
    left.abort(CANCELLED);
    await sleep(1);
    const second = call();
    await expect(first).rejects.toMatchObject({ kind: 'Cancelled' });
    expect(undone).toEqual(['id1']);
    gate.resolve();
    expect(await second).toBe('id2');
  });

  test('leaves alone when somebody else waits', async () => {
    const left = new AbortController();
    const first = call(left.signal);
    const second = call();
    await sleep(5);
    left.abort(CANCELLED);
    await expect(first).rejects.toMatchObject({ kind: 'Cancelled' });
    gate.resolve();
    expect(await second).toBe('id1');
    expect(undone).toEqual([]);
  });

  test('because of his deadline and does not come back has the work undone after a while', async () => {
    const late = new AbortController();
    const first = call(late.signal);
    late.abort(LATE);
    await expect(first).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    await sleep(150);
    expect(undone).toEqual(['id1']);
  });
});

test('disposing ends the work that nobody waits for and waits until it is undone', async () => {
  const late = new AbortController();
  const first = call(late.signal);
  late.abort(LATE);
  await expect(first).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
  await twins[Symbol.asyncDispose]();
  expect(undone).toEqual(['id1']);
});
