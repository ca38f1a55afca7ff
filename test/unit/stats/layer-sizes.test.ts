import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { CairnError } from '../../../src/base/errors.ts';
import { silentLogger } from '../../../src/base/log.ts';
import { LayerSizes } from '../../../src/stats/layer-sizes.ts';

let nowMs: number;
let walks: string[];
let tookMs: number;
let usage: () => Promise<{ sizeBytes: number; inodes: number }>;
let sizes: LayerSizes;

beforeEach(() => {
  nowMs = 1000;
  walks = [];
  tookMs = 1;
  usage = async () => ({ sizeBytes: walks.length, inodes: 1 });
  jest.spyOn(performance, 'now').mockImplementation(() => nowMs);
  const snapshotter = {
    usage: (name: string) => {
      walks.push(name);
      nowMs += tookMs;
      return usage();
    },
  };
  sizes = new LayerSizes(snapshotter, silentLogger);
});
afterEach(() => {
  jest.restoreAllMocks();
});

describe('the size of a layer', () => {
  test('is measured once for ten seconds, however many ask', async () => {
    const both = await Promise.all([sizes.get('a', false), sizes.get('a', false)]);
    expect(both.map((size) => size?.usedBytes)).toEqual([1, 1]);
    nowMs += 9_000;
    expect((await sizes.get('a', false))?.usedBytes).toBe(1);
    nowMs += 2_000;
    expect((await sizes.get('a', false))?.usedBytes).toBe(2);
  });

  test('is kept longer where the walk took long: it may take a fiftieth of a processor', async () => {
    tookMs = 1_000;
    await sizes.get('a', false);
    nowMs += 49_000;
    await sizes.get('a', false);
    expect(walks).toEqual(['a']);
    nowMs += 2_000;
    await sizes.get('a', false);
    expect(walks).toEqual(['a', 'a']);
  });

  test('of an ended container is measured once more, then never again', async () => {
    await sizes.get('a', false);
    sizes.expire('a');
    await sizes.get('a', true);
    nowMs += 3_600_000;
    expect((await sizes.get('a', true))?.usedBytes).toBe(2);
  });

  test('is absent for what is removed, and a failure is no size', async () => {
    usage = () => Promise.reject(new CairnError('NotFound', 'gone'));
    expect(await sizes.get('a', false)).toBeUndefined();
    usage = () => Promise.reject(new Error('broken disk'));
    expect(await sizes.get('b', false)).toBeUndefined();
  });
});

test('who asks first waits a second for a walk that takes longer; the size comes when it is there', async () => {
  jest.restoreAllMocks();
  let finish = () => {};
  usage = () =>
    new Promise((resolve) => {
      finish = () => resolve({ sizeBytes: 7, inodes: 1 });
    });
  const startedMs = performance.now();
  expect(await sizes.get('slow', false)).toBeUndefined();
  expect(performance.now() - startedMs).toBeGreaterThan(900);
  finish();
  expect((await sizes.get('slow', false))?.usedBytes).toBe(7);
});
