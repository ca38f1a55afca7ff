/** What the kubelet's image collector relies on: usage that is true, pins, and removals that free what they promise. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { makeImage, makeLayer } from '../../fixtures/image-maker.ts';
import { patternBytes } from '../../fixtures/pattern.ts';
import type { TestRegistry } from '../../fixtures/registry.ts';
import { type ImageWorld, imageWorld, startRegistry } from './image-world.ts';

let registry: TestRegistry;
beforeAll(async () => {
  registry = await startRegistry();
}, 30_000);
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

const layerOf = (seed: number, files: number) =>
  makeLayer([
    { path: `dir${seed}/` },
    { path: `dir${seed}/large`, data: patternBytes(3_000_000, seed) },
    ...Array.from({ length: files }, (_, n) => ({ path: `dir${seed}/${n}`, data: `small ${n}\n` })),
  ]);

/** What du says of blobs and snapshots. */
async function diskUsage({ root }: ImageWorld): Promise<{ readonly bytes: number; readonly inodes: number }> {
  const paths = [`${root}/content/blobs`, `${root}/snapshots`];
  const total = async (flag: string) => {
    const { stdout } = await promisify(execFile)('du', ['-s', '-c', flag, ...paths]);
    return Number(/^(\d+)\s+total$/m.exec(stdout)?.[1]);
  };
  return { bytes: await total('-B1'), inodes: await total('--inodes') };
}

test('the usage is what du says, within a few directories, before and after a removal', async () => {
  await using world = await imageWorld(registry);
  const shared = layerOf(31, 300);
  for (const [at, own] of [layerOf(32, 500), layerOf(33, 20)].entries()) {
    await registry.push(`usage/app${at}`, makeImage({ layers: [shared, own] }), 'v1');
    await world.images.pull(`${world.proxy.host}/usage/app${at}:v1`, {});
  }
  const check = async () => {
    const [usage, disk] = [await world.images.filesystemUsage(), await diskUsage(world)];
    expect(Math.abs(usage.usedBytes - disk.bytes)).toBeLessThan(0.03 * disk.bytes);
    expect(Math.abs(usage.inodesUsed - disk.inodes)).toBeLessThan(60);
    return usage;
  };
  const before = await check();
  const [first] = world.images.list();
  await world.images.remove(first?.id ?? '');
  // The snapshotter empties its trash in the background.
  await world.leftovers();
  const after = await check();
  expect(after.usedBytes).toBeLessThan(before.usedBytes - 3_000_000);
});

test('a pinned image is listed as pinned, by tag and by digest, until it has lost the name', async () => {
  await using world = await imageWorld(registry, { pinnedImages: [`${registry.host}/pinned/pause:1`] });
  await registry.push('pinned/pause', makeImage({ layers: [layerOf(34, 1)] }), '1');
  await registry.push('pinned/pause', makeImage({ layers: [layerOf(34, 1)] }), '2');
  const pulled = await world.images.pull(`${registry.host}/pinned/pause:1`, {});
  expect(pulled.pinned).toBe(true);
  await world.images.pull(`${registry.host}/pinned/pause:2`, {});
  await world.images.remove(`${registry.host}/pinned/pause:1`);
  expect(world.images.list()).toMatchObject([{ pinned: false, repoTags: [`${registry.host}/pinned/pause:2`] }]);
});
