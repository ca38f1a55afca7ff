import { describe, expect, test } from '@jest/globals';
import type { Container } from '../../../src/containers/index.ts';
import { newestFirst } from '../../../src/cri/render-container.ts';

const container = (attempt: number, createdAtNs: bigint) => ({ config: { attempt }, createdAtNs }) as Container;

describe('statuses of a pod’s containers', () => {
  test('come newest first, and of two made in one instant the later attempt first', () => {
    const mixed = [container(0, 5n), container(2, 9n), container(3, 9n), container(1, 7n)];
    expect(mixed.toSorted(newestFirst).map(({ config }) => config.attempt)).toEqual([3, 2, 1, 0]);
  });
});
