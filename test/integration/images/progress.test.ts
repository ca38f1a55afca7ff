/** A registry that goes silent in the middle, and what a pull makes of it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeImage, makeLayer } from '../../fixtures/image-maker.ts';
import { patternBytes } from '../../fixtures/pattern.ts';
import type { TestRegistry } from '../../fixtures/registry.ts';
import { imageWorld, NOTHING, startRegistry } from './image-world.ts';

const TIMEOUT_MS = 400;

let registry: TestRegistry;
beforeAll(async () => {
  registry = await startRegistry();
}, 30_000);
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

const layer = (seed: number) => makeLayer([{ path: `data${seed}`, data: patternBytes(1_500_000, seed) }]);

describe('a pull without progress', () => {
  test('of a layer ends with the reason that the kubelet knows, and the next one goes on where it stopped', async () => {
    await using world = await imageWorld(registry, { pullProgressTimeoutMs: TIMEOUT_MS });
    const [held, other] = [layer(21), layer(22)];
    await registry.push('silent/app', makeImage({ layers: [other, held] }), 'v1');
    const name = `${world.proxy.host}/silent/app:v1`;
    const hold = world.proxy.hold(held.digest, 400_000);
    const startedAt = performance.now();
    await expect(world.images.pull(name, {})).rejects.toMatchObject({
      kind: 'Unknown',
      message: expect.stringMatching(
        new RegExp(
          `^RegistryUnavailable: ${name}: no progress for 0\\.[45] s .*layer ${held.digest}, of which \\d+ of`,
        ),
      ),
    });
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    hold.release();
    expect((await world.leftovers()).ingests).toHaveLength(1);
    const before = world.proxy.blobRequests(other.digest);
    await world.images.pull(name, {});
    expect(world.proxy.blobRequests(other.digest)).toBe(before);
    expect(await world.leftovers()).toMatchObject({ images: 1, ingests: [] });
  });

  test('of a manifest or a config says so and leaves nothing', async () => {
    await using world = await imageWorld(registry, { pullProgressTimeoutMs: TIMEOUT_MS });
    const made = makeImage({ layers: [layer(23)] });
    await registry.push('silent/early', made, 'v1');
    const name = `${world.proxy.host}/silent/early:v1`;
    for (const [part, words] of [
      ['/manifests/', 'the manifest'],
      [`/blobs/${made.configDigest}`, `config ${made.configDigest}`],
    ] as const) {
      const hold = world.proxy.hold(part, 10);
      const message = expect.stringContaining(`waiting for ${words}`);
      await expect(world.images.pull(name, {})).rejects.toMatchObject({ kind: 'Unknown', message });
      hold.release();
    }
    await world.images.collect();
    expect(await world.leftovers()).toEqual(NOTHING);
  });

  test('that gets on in time, again and again, is left alone', async () => {
    await using world = await imageWorld(registry, { pullProgressTimeoutMs: TIMEOUT_MS });
    const layers = [layer(24), layer(25), layer(26)];
    await registry.push('silent/slow', makeImage({ layers }), 'v1');
    const holds = layers.map(({ digest }) => world.proxy.hold(digest, 500_000));
    const pull = world.images.pull(`${world.proxy.host}/silent/slow:v1`, {});
    pull.catch(() => undefined);
    for (const hold of holds) {
      await hold.reached;
      await sleep(TIMEOUT_MS * 0.6);
      hold.release();
    }
    expect((await pull).layers).toHaveLength(3);
  });
});
