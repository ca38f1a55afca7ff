import { mkdtemp, readFile, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { digestOf } from '../../../src/base/digest.ts';
import { CairnError } from '../../../src/base/errors.ts';
import type { Image, PullProgress } from '../../../src/images/index.ts';
import { hostArchitecture, makeImage, makeIndex, makeLayer } from '../../fixtures/image-maker.ts';
import { patternBytes } from '../../fixtures/pattern.ts';
import type { TestRegistry } from '../../fixtures/registry.ts';
import { type ImageDaemon, imageWorld, NOTHING, startImageDaemon, startRegistry } from './image-world.ts';

let registry: TestRegistry;
beforeAll(async () => {
  registry = await startRegistry();
}, 30_000);
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

const big = (name: string, seed: number, compression: 'gzip' | 'zstd' | 'none' = 'gzip') =>
  makeLayer([{ path: 'data/' }, { path: `data/${name}`, data: patternBytes(1_500_000, seed) }], compression);
const base = makeLayer([{ path: 'etc/' }, { path: 'etc/os', data: 'test\n' }, { path: 'etc/gone', data: 'x' }]);
const upper = makeLayer([{ path: 'etc/.wh.gone' }, { path: 'etc/new', data: 'new\n' }], 'zstd');
const plain = makeLayer([{ path: 'srv/' }, { path: 'srv/plain', data: 'plain\n' }], 'none');

/** Reads a file through the mounted image. */
async function readInImage(daemon: ImageDaemon, image: Image, path: string): Promise<string | undefined> {
  const target = await mkdtemp(join(tmpdir(), 'cairn-image-mount-'));
  await daemon.snapshotter.prepare('look', image.chainId, { view: true });
  try {
    await daemon.snapshotter.mount('look', target);
    return await readFile(join(target, path), 'utf8').catch(() => undefined);
  } finally {
    await daemon.snapshotter.unmount(target);
    await daemon.snapshotter.remove('look');
    await rmdir(target);
  }
}

describe('pulling an image', () => {
  test('gzip, zstd and plain layers become one file system, with names, size, config and rows', async () => {
    await using world = await imageWorld(registry);
    const made = makeImage({ layers: [base, upper, plain], config: { User: 'app', Labels: { a: 'b' }, Cmd: ['/x'] } });
    await registry.push('kinds/app', made, 'v1');
    const image = await world.images.pull(`${world.proxy.host}/kinds/app:v1`, {});
    expect(image).toMatchObject({
      id: made.configDigest,
      repoTags: [`${world.proxy.host}/kinds/app:v1`],
      repoDigests: [`${world.proxy.host}/kinds/app@${made.digest}`],
      manifestDigest: made.digest,
      diffIds: made.layers.map((layer) => layer.diffId),
      config: { user: 'app', labels: { a: 'b' }, cmd: ['/x'], created: '2024-01-01T00:00:00Z' },
      pinned: false,
      sizeBytes: [...made.blobs, made.manifest].reduce((sum, blob) => sum + blob.bytes.length, 0),
    });
    expect(await readInImage(world, image, 'etc/os')).toBe('test\n');
    expect(await readInImage(world, image, 'etc/new')).toBe('new\n');
    expect(await readInImage(world, image, 'etc/gone')).toBeUndefined();
    expect(await readInImage(world, image, 'srv/plain')).toBe('plain\n');
    expect(world.images.find(`${world.proxy.host}/kinds/app:v1`)).toEqual(image);
    expect(world.images.find(image.id.slice(7, 20))).toEqual(image);
    expect(world.images.list()).toEqual([image]);
    const usage = await world.images.filesystemUsage();
    expect(usage.mountpoint).toBe(world.root);
    expect(usage.usedBytes).toBeGreaterThanOrEqual(image.sizeBytes);
    expect(usage.inodesUsed).toBeGreaterThan(5);
  });

  test('an index is resolved to this platform; its digest is the repo digest; a second pull fetches nothing', async () => {
    await using world = await imageWorld(registry);
    const mine = makeImage({ layers: [base], docker: true });
    const other = makeImage({ layers: [upper], architecture: 's390x' });
    const index = makeIndex([
      { image: other, platform: { os: 'linux', architecture: 's390x' } },
      { image: mine, platform: { os: 'linux', architecture: hostArchitecture() } },
    ]);
    await registry.push('multi/app', index, 'latest');
    const image = await world.images.pull(`${world.proxy.host}/multi/app`, {});
    expect(image.id).toBe(mine.configDigest);
    expect(image.manifestDigest).toBe(mine.digest);
    expect(image.repoDigests).toEqual([`${world.proxy.host}/multi/app@${index.digest}`]);
    const asked = world.proxy.requests.length;
    expect(await world.images.pull(`${world.proxy.host}/multi/app`, {})).toEqual(image);
    expect(world.proxy.requests.slice(asked).filter((line) => line.includes('/blobs/'))).toEqual([]);
    const again = await world.images.pull(`${world.proxy.host}/multi/app@${index.digest}`, {});
    expect(again.repoTags).toEqual(image.repoTags);
  });

  test('pulling by digest gives no tag', async () => {
    await using world = await imageWorld(registry);
    const made = makeImage({ layers: [plain] });
    await registry.push('bydigest/app', made, 'v1');
    const image = await world.images.pull(`${world.proxy.host}/bydigest/app:v1@${made.digest}`, {});
    expect(image.repoTags).toEqual([]);
    expect(image.repoDigests).toEqual([`${world.proxy.host}/bydigest/app@${made.digest}`]);
    expect(world.images.find(`${world.proxy.host}/bydigest/app:v1`)).toBeUndefined();
  });

  test('without a manifest for the platform it is NotFound naming the platforms, index or not', async () => {
    await using world = await imageWorld(registry);
    const foreign = makeImage({ layers: [plain], architecture: 's390x' });
    await registry.push(
      'other/index',
      makeIndex([{ image: foreign, platform: { os: 'linux', architecture: 's390x' } }]),
      'v1',
    );
    await registry.push('other/single', foreign, 'v1');
    for (const name of ['other/index', 'other/single']) {
      const pull = world.images.pull(`${world.proxy.host}/${name}:v1`, {});
      await expect(pull).rejects.toMatchObject({ kind: 'NotFound', message: expect.stringContaining('linux/s390x') });
    }
    expect(await world.leftovers()).toEqual(NOTHING);
  });

  test('a layer whose bytes are not its digest is DataLoss naming it, and leaves nothing', async () => {
    await using world = await imageWorld(registry);
    const layer = big('spoiled', 7, 'none');
    const made = makeImage({ layers: [base, layer] });
    await registry.push('spoiled/app', made, 'v1');
    world.proxy.spoil(layer.digest, (body) => {
      const changed = Buffer.from(body);
      changed[1_000_000] = 1 ^ (changed[1_000_000] ?? 0);
      return changed;
    });
    const pull = world.images.pull(`${world.proxy.host}/spoiled/app:v1`, {});
    await expect(pull).rejects.toMatchObject({ kind: 'DataLoss', message: expect.stringContaining(layer.digest) });
    const blame = `(it came from http://${world.proxy.host})`;
    await expect(pull).rejects.toMatchObject({ message: expect.stringContaining(blame) });
    expect(await world.leftovers()).toEqual(NOTHING);
  });

  test('a compressed layer that is cut, or longer than promised, is DataLoss and leaves nothing', async () => {
    await using world = await imageWorld(registry);
    const layer = big('cut', 8);
    const made = makeImage({ layers: [layer] });
    await registry.push('cut/app', made, 'v1');
    const changes = [
      (body: Buffer) => Buffer.concat([body.subarray(0, 700_000), Buffer.alloc(body.length - 700_000)]),
      (body: Buffer) => Buffer.concat([body, Buffer.from('more')]),
    ];
    for (const change of changes) {
      world.proxy.spoil(layer.digest, change);
      const pull = world.images.pull(`${world.proxy.host}/cut/app:v1`, {});
      await expect(pull).rejects.toMatchObject({ kind: 'DataLoss', message: expect.stringContaining(layer.digest) });
      expect(await world.leftovers()).toEqual(NOTHING);
    }
  });

  test('a config that lies about a diff ID is DataLoss naming both, and leaves nothing', async () => {
    await using world = await imageWorld(registry);
    const lie = { ...upper, diffId: digestOf('something else') };
    await registry.push('lie/app', makeImage({ layers: [base, lie, plain] }), 'v1');
    const pull = world.images.pull(`${world.proxy.host}/lie/app:v1`, {});
    await expect(pull).rejects.toMatchObject({ kind: 'DataLoss', message: expect.stringContaining(upper.digest) });
    await expect(pull).rejects.toThrow(lie.diffId);
    expect(await world.leftovers()).toEqual(NOTHING);
  });

  test('a hostile layer is refused by name, and leaves nothing', async () => {
    await using world = await imageWorld(registry);
    const hostile = makeLayer([
      { path: 'up', type: '2', linkname: '/tmp' },
      { path: '../escape', data: 'x' },
    ]);
    await registry.push('hostile/app', makeImage({ layers: [base, hostile] }), 'v1');
    await expect(world.images.pull(`${world.proxy.host}/hostile/app:v1`, {})).rejects.toMatchObject({
      kind: 'InvalidArgument',
      message: expect.stringContaining(hostile.digest),
    });
    expect(await world.leftovers()).toEqual(NOTHING);
  });

  test('an unknown image and a broken config leave nothing either', async () => {
    await using world = await imageWorld(registry);
    await expect(world.images.pull(`${world.proxy.host}/no/such:v1`, {})).rejects.toMatchObject({ kind: 'NotFound' });
    const made = makeImage({ layers: [plain], config: { Env: 'not a list' } });
    await registry.push('badconfig/app', made, 'v1');
    await expect(world.images.pull(`${world.proxy.host}/badconfig/app:v1`, {})).rejects.toMatchObject({
      kind: 'DataLoss',
      message: expect.stringContaining(String(made.configDigest)),
    });
    expect(await world.leftovers()).toEqual(NOTHING);
  });

  test('two pulls at once, of one image and of two with shared layers, fetch every blob once', async () => {
    await using world = await imageWorld(registry);
    const shared = [base, big('shared', 3)];
    const one = makeImage({ layers: [...shared, upper] });
    const two = makeImage({ layers: [...shared, plain, base] });
    await registry.push('twice/one', one, 'v1');
    await registry.push('twice/two', two, 'v1');
    const names = ['twice/one', 'twice/two', 'twice/one'].map((name) => `${world.proxy.host}/${name}:v1`);
    const images = await Promise.all(names.map((name) => world.images.pull(name, {})));
    expect(images[0]).toEqual(images[2]);
    for (const blob of [...one.blobs, ...two.blobs]) {
      expect(world.proxy.blobRequests(digestOf(blob.bytes))).toBe(1);
    }
    expect(world.proxy.requests.filter((line) => line.includes('/twice/one/manifests/v1'))).toHaveLength(1);
    expect(await world.leftovers()).toMatchObject({ images: 2, snapshots: 5 });
  });

  test('one caller cancels and the other goes on; when all have, nothing is left', async () => {
    await using world = await imageWorld(registry);
    const layer = big('held', 4);
    await registry.push('held/app', makeImage({ layers: [base, layer] }), 'v1');
    const name = `${world.proxy.host}/held/app:v1`;
    for (const everybodyLeaves of [true, false]) {
      const hold = world.proxy.hold(layer.digest, 300_000);
      const aborts = [new AbortController(), new AbortController()];
      const pulls = aborts.map(({ signal }) => world.images.pull(name, { signal }));
      const outcomes = Promise.allSettled(pulls);
      await hold.reached;
      aborts[0]?.abort();
      await expect(pulls[0]).rejects.toMatchObject({ kind: 'Cancelled' });
      if (everybodyLeaves) aborts[1]?.abort();
      if (everybodyLeaves) await expect(pulls[1]).rejects.toMatchObject({ kind: 'Cancelled' });
      if (everybodyLeaves) expect(await world.leftovers()).toEqual(NOTHING);
      hold.release();
      await outcomes;
      if (!everybodyLeaves) expect((await pulls[1])?.repoTags).toEqual([name]);
    }
  });

  test('a pull that ran out of time goes on where it stopped', async () => {
    await using world = await imageWorld(registry);
    const layer = big('late', 5);
    await registry.push('late/app', makeImage({ layers: [layer] }), 'v1');
    const hold = world.proxy.hold(layer.digest, 400_000);
    const abort = new AbortController();
    const pull = world.images.pull(`${world.proxy.host}/late/app:v1`, { signal: abort.signal });
    const failed = expect(pull).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    await hold.reached;
    await new Promise((resolve) => setTimeout(resolve, 100));
    abort.abort(new CairnError('DeadlineExceeded', 'no progress'));
    await failed;
    hold.release();
    expect((await world.leftovers()).ingests).toHaveLength(1);
    const seen: PullProgress[] = [];
    await world.images.pull(`${world.proxy.host}/late/app:v1`, { onProgress: (progress) => seen.push(progress) });
    expect(seen.at(-1)?.layers).toEqual([
      { digest: layer.digest, state: 'done', downloadedBytes: layer.bytes.length, sizeBytes: layer.bytes.length },
    ]);
    expect((await world.leftovers()).ingests).toEqual([]);
  });

  test('a blob spoiled on disk and a lost blob are fetched again', async () => {
    await using world = await imageWorld(registry);
    const layer = big('disk', 6);
    await registry.push('disk/one', makeImage({ layers: [layer] }), 'v1');
    await registry.push('disk/two', makeImage({ layers: [base, layer] }), 'v1');
    const one = await world.images.pull(`${world.proxy.host}/disk/one:v1`, {});
    const spoiled = Buffer.from(layer.bytes);
    spoiled[500_000] = 1 ^ (spoiled[500_000] ?? 0);
    await writeFile(world.content.path(layer.digest), spoiled);
    const two = await world.images.pull(`${world.proxy.host}/disk/two:v1`, {});
    expect(two.layers).toHaveLength(2);
    expect((await readFile(world.content.path(layer.digest))).equals(layer.bytes)).toBe(true);
    const lose = [
      () => world.content.remove(layer.digest),
      () => writeFile(world.content.path(layer.digest), layer.bytes.subarray(0, 1000)),
    ];
    for (const loseIt of lose) {
      await loseIt();
      await world.images.pull(`${world.proxy.host}/disk/one:v1`, {});
      expect((await readFile(world.content.path(layer.digest))).equals(layer.bytes)).toBe(true);
    }
    expect(world.images.list().map((image) => image.id)).toContain(one.id);
  });

  test('an image survives a restart; names and pins are read back', async () => {
    await using world = await imageWorld(registry);
    await registry.push('pinned/app', makeImage({ layers: [base] }), 'v1');
    const image = await world.images.pull(`${world.proxy.host}/pinned/app:v1`, {});
    expect(image.pinned).toBe(true);
    await using second = await startImageDaemon(world.root);
    expect(second.images.list()).toEqual([image]);
    await second.images.reconcile();
    expect(second.images.find(`${world.proxy.host}/pinned/app:v1`)).toEqual(image);
  });
});
