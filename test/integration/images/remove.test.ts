import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeImage, makeLayer } from '../../fixtures/image-maker.ts';
import type { TestRegistry } from '../../fixtures/registry.ts';
import { imageWorld, NOTHING, startRegistry } from './image-world.ts';

let registry: TestRegistry;
beforeAll(async () => {
  registry = await startRegistry();
}, 30_000);
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

const base = makeLayer([{ path: 'etc/' }, { path: 'etc/os', data: 'test\n' }]);
const own = (text: string) => makeLayer([{ path: 'own', data: text }]);

describe('removing images', () => {
  test('the last name takes the image with its snapshots and blobs; what another image shares stays', async () => {
    await using world = await imageWorld(registry);
    const [one, two] = [makeImage({ layers: [base, own('1')] }), makeImage({ layers: [base, own('2')] })];
    await registry.push('rm/app', one, 'one');
    await registry.push('rm/app', two, 'two');
    const name = (tag: string) => `${world.proxy.host}/rm/app:${tag}`;
    await world.images.pull(name('one'), {});
    const only = await world.leftovers();
    const kept = await world.images.filesystemUsage();
    await world.images.pull(name('two'), {});
    await world.images.remove(name('two'));
    expect(world.images.find(name('two'))).toBeUndefined();
    expect(await world.leftovers()).toEqual(only);
    expect(await world.images.filesystemUsage()).toEqual(kept);
    await world.images.remove(name('two'));
    await world.images.remove(one.configDigest ?? '');
    expect(await world.leftovers()).toEqual(NOTHING);
    expect(await world.images.filesystemUsage()).toMatchObject({ usedBytes: 0, inodesUsed: 0 });
  });

  test('one name of several goes alone', async () => {
    await using world = await imageWorld(registry);
    const made = makeImage({ layers: [base] });
    await registry.push('names/app', made, 'a');
    await registry.push('names/app', made, 'b');
    const name = (tag: string) => `${world.proxy.host}/names/app:${tag}`;
    await world.images.pull(name('a'), {});
    const both = await world.images.pull(name('b'), {});
    expect(both.repoTags).toEqual([name('a'), name('b')]);
    await world.images.remove(name('a'));
    expect(world.images.find(both.id)?.repoTags).toEqual([name('b')]);
    await world.images.remove(name('b'));
    expect(await world.leftovers()).toEqual(NOTHING);
  });

  test('an image that a container uses stays with its names; the error names the container', async () => {
    await using world = await imageWorld(registry);
    await registry.push('used/app', makeImage({ layers: [base, own('used')] }), 'v1');
    const image = await world.images.pull(`${world.proxy.host}/used/app:v1`, {});
    world.users.set(image.id, 'container-1');
    for (const text of [image.id, `${world.proxy.host}/used/app:v1`]) {
      await expect(world.images.remove(text)).rejects.toMatchObject({
        kind: 'FailedPrecondition',
        message: expect.stringContaining('container-1'),
      });
    }
    expect(world.images.find(image.id)).toEqual(image);
    world.users.clear();
    await world.images.remove(image.id);
    expect(await world.leftovers()).toEqual(NOTHING);
  });

  test('a tag that moves leaves the old image to its digest', async () => {
    await using world = await imageWorld(registry);
    const [old, fresh] = [makeImage({ layers: [base, own('old')] }), makeImage({ layers: [base, own('new')] })];
    const name = `${world.proxy.host}/moving/app:v1`;
    await registry.push('moving/app', old, 'v1');
    const before = await world.images.pull(name, {});
    await registry.push('moving/app', fresh, 'v1');
    const after = await world.images.pull(name, {});
    expect(after.repoTags).toEqual([name]);
    expect(world.images.find(name)?.id).toBe(fresh.configDigest);
    expect(world.images.find(before.id)).toMatchObject({ repoTags: [], repoDigests: before.repoDigests });
    await world.images.collect();
    expect(world.images.list()).toHaveLength(2);
    await world.images.remove(before.id);
    expect(world.images.list()).toEqual([after]);
  });

  test('a pin keeps blobs and snapshots until it is given back', async () => {
    await using world = await imageWorld(registry);
    await registry.push('kept/app', makeImage({ layers: [base] }), 'v1');
    const image = await world.images.pull(`${world.proxy.host}/kept/app:v1`, {});
    const pin = world.images.pin(image);
    await world.images.remove(image.id);
    expect(await world.leftovers()).toMatchObject({ images: 0, snapshots: 1 });
    pin[Symbol.dispose]();
    expect(await world.images.collect()).toBeGreaterThan(0);
    expect(await world.leftovers()).toEqual(NOTHING);
  });

  test('reconcile forgets an image whose snapshot is gone', async () => {
    await using world = await imageWorld(registry);
    await registry.push('lost/app', makeImage({ layers: [own('lost')] }), 'v1');
    const image = await world.images.pull(`${world.proxy.host}/lost/app:v1`, {});
    await world.snapshotter.remove(image.chainId ?? '');
    await world.images.reconcile();
    expect(world.images.list()).toEqual([]);
    expect(await world.leftovers()).toEqual(NOTHING);
  });
});
