/** A device of the Container Device Interface in a real container. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { podConfig } from '../../fixtures/pod-configs.ts';
import { output, shell, started } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';

let world: PodWorld;
let podId: string;
let specs: string;
beforeAll(async () => {
  const directories: string[] = [];
  world = await PodWorld.create({ containers: { cdiSpecDirectories: directories } });
  specs = join(world.directory, 'cdi');
  directories.push(specs);
  await mkdir(specs);
  await writeFile(join(world.directory, 'driver'), 'of the vendor');
  const containerEdits = {
    env: ['VENDOR=here'],
    deviceNodes: [
      { path: '/dev/vendor0', hostPath: '/dev/zero' },
      // One that runtimes do not allow by themselves.
      { path: '/dev/vendor1', hostPath: '/dev/loop-control', permissions: 'r' },
    ],
    mounts: [{ hostPath: join(world.directory, 'driver'), containerPath: '/opt/driver', options: ['ro'] }],
    hooks: [
      {
        hookName: 'createRuntime',
        path: '/bin/sh',
        args: ['sh', '-c', `cat > ${join(world.directory, 'hook')}`],
      },
    ],
    additionalGids: [4242],
  };
  const spec = { cdiVersion: '0.7.0', kind: 'vendor.com/dev', devices: [{ name: 'zero', containerEdits }] };
  await writeFile(join(specs, 'vendor.json'), JSON.stringify(spec));
  podId = (await world.pods.run(podConfig())).id;
});
afterAll(() => world[Symbol.asyncDispose]());

describe('a CDI device', () => {
  test('brings its node, mounts, variables, groups and hooks into the container', async () => {
    const id = await started(world, podId, shell('sleep 60', { cdiDevices: ['vendor.com/dev=zero'] }));
    expect(await output(world, id, 'head -c 3 /dev/vendor0 | wc -c')).toBe('3');
    expect(await output(world, id, ': < /dev/vendor1 && echo open')).toBe('open');
    expect(await output(world, id, ': > /dev/vendor1')).toContain('Operation not permitted');
    expect(await output(world, id, 'cat /opt/driver; echo; echo $VENDOR; id -G')).toBe('of the vendor\nhere\n0 4242');
    expect(await output(world, id, ': > /opt/driver')).toContain('Read-only');
    expect(JSON.parse(await readFile(join(world.directory, 'hook'), 'utf8'))).toMatchObject({ id });
    expect(world.containers.get(id).user?.groups).toContain(4242);
    await world.containers.stop(id, 0);
  });

  test('that is unknown is refused by name and leaves nothing', async () => {
    const asked = world.containers.create(podId, shell('true', { cdiDevices: ['vendor.com/dev=none'] }));
    await expect(asked).rejects.toMatchObject({
      kind: 'InvalidArgument',
      message: expect.stringContaining('CDI device vendor.com/dev=none'),
    });
    expect(world.containers.list({ state: 'creating' })).toEqual([]);
  });
});
