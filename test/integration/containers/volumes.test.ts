/** Image volumes and the VOLUMEs of a container's own image, on the real kernel. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ContainerConfig } from '../../../src/containers/index.ts';
import { mountInfo } from '../../../src/linux/index.ts';
import { hostMount, podConfig, security } from '../../fixtures/pod-configs.ts';
import { exited, output, shell, started } from '../../fixtures/pod-steps.ts';
import { PodWorld, TEST_IMAGE } from '../../fixtures/pod-world.ts';

let world: PodWorld;
let podId: string;
beforeAll(async () => {
  world = await PodWorld.create({
    image: { volumes: ['/data', 'var//cache/', '/out', '/proc/x', '/mounted'] },
    prepareRootfs: async (directory) => {
      await mkdir(join(directory, 'data/sub'), { recursive: true });
      await writeFile(join(directory, 'data/file'), 'of the image\n');
      await symlink('/../../../../../..//etc', join(directory, 'data/up'));
      await symlink('/tmp/elsewhere', join(directory, 'out'));
      await mkdir(join(directory, 'tmp/elsewhere'), { recursive: true });
    },
  });
  podId = (await world.pods.run(podConfig())).id;
});
afterAll(() => world[Symbol.asyncDispose]());

const sleeper = (changes: Partial<ContainerConfig> = {}) => shell('while :; do sleep 1; done', changes);
const volume = (subPath = '', changes = {}) =>
  hostMount({ containerPath: '/volume', image: { name: TEST_IMAGE, subPath }, readonly: true, ...changes });
const mountsOf = async (id: string) => (await mountInfo()).filter(({ target }) => target.includes(id));

describe('the VOLUMEs of an image', () => {
  test('hold what the image has there and are writable below a read-only root, out of the container layer', async () => {
    const readonlyRootfs = { security: { ...security, readonlyRootfs: true } };
    const mounted = join(world.directory, 'mounted');
    await mkdir(mounted);
    await writeFile(join(mounted, 'host-file'), '');
    const mounts = [hostMount({ hostPath: mounted, containerPath: '/mounted' })];
    const id = await started(world, podId, sleeper({ ...readonlyRootfs, mounts }));
    expect(await output(world, id, 'cat /data/file; touch /data/new /var/cache/new /out/new && echo written')).toBe(
      'of the image\nwritten',
    );
    expect(await output(world, id, 'ls /tmp/elsewhere /mounted; touch /tmp/x 2>/dev/null || echo read-only')).toBe(
      '/mounted:\nhost-file\n\n/tmp/elsewhere:\nnew\nread-only',
    );
    const { inodes } = await world.snapshotter.usage(id);
    expect((await world.snapshotter.usage(`${id}-volumes`)).inodes).toBeGreaterThan(inodes);
    await world.containers.remove(id);
    expect(world.snapshotter.stat(`${id}-volumes`)).toBeUndefined();
    expect(await mountsOf(id)).toEqual([]);
  });

  test('belong to one container each', async () => {
    const first = await started(world, podId, sleeper());
    const second = await started(world, podId, sleeper());
    await output(world, first, 'echo mine > /data/file');
    expect(await output(world, second, 'cat /data/file')).toBe('of the image');
    for (const id of [first, second]) await world.containers.remove(id);
  });
});

describe('an image volume', () => {
  test('is the image, read-only, with the options that were asked for', async () => {
    const id = await started(world, podId, sleeper({ mounts: [volume('', { options: ['noexec'] })] }));
    expect(world.containers.get(id).volumeImageIds).toEqual([`sha256:${'1'.repeat(64)}`]);
    expect(await output(world, id, 'cat /volume/data/file; touch /volume/x 2>/dev/null || echo read-only')).toBe(
      'of the image\nread-only',
    );
    expect(await output(world, id, '/volume/bin/true || echo refused')).toContain('refused');
    await world.containers.remove(id);
    expect(world.snapshotter.stat(`${id}-image-0`)).toBeUndefined();
  });

  test('may be a part of it; no symlink leads out', async () => {
    const id = await started(world, podId, sleeper({ mounts: [volume('data/up')] }));
    // The image's own /etc, which has no shadow file.
    expect(await output(world, id, 'ls /volume/passwd; ls /volume/shadow 2>/dev/null || echo none')).toBe(
      '/volume/passwd\nnone',
    );
    await world.containers.remove(id);
  });

  test('that can not be had fails the creation, with the word that the kubelet looks for, and leaves nothing', async () => {
    const before = world.snapshotter.list().length;
    const missing = { ...volume(), image: { name: 'nowhere', subPath: '' } };
    for (const mount of [missing, volume('data/none')]) {
      await expect(world.containers.create(podId, sleeper({ mounts: [mount] }))).rejects.toMatchObject({
        kind: 'NotFound',
        message: expect.stringMatching(/^ImageVolumeMountFailed: mount \/volume: /),
      });
    }
    expect(world.snapshotter.list()).toHaveLength(before);
    expect(await mountsOf(world.state)).toEqual(await mountsOf(`${world.state}/sandboxes`));
  });

  test('outlives a restart of the daemon and goes with its container after it', async () => {
    const created = (await world.containers.create(podId, sleeper({ mounts: [volume('data')] }))).id;
    const ends = await started(world, podId, shell('true', { mounts: [volume('data')] }));
    await exited(world, ends);
    await world.restart();
    await world.containers.start(created);
    expect(await output(world, created, 'cat /volume/file')).toBe('of the image');
    for (const id of [created, ends]) await world.containers.remove(id);
    expect(world.snapshotter.list().filter(({ kind }) => kind === 'view')).toEqual([]);
  });
});
