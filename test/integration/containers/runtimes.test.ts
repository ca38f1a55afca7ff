/** A second OCI runtime beside the default one: another version of runc where Go can build it, else the same under another name. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { silentLogger } from '../../../src/base/log.ts';
import { readRuntimes } from '../../../src/daemon/runtime-info.ts';
import type { RuntimeHandler } from '../../../src/task/index.ts';
import { BUILD_MS_MAX, goPrograms, RUNC, RUNC_VERSION } from '../../fixtures/go-programs.ts';
import { podConfig, resources } from '../../fixtures/pod-configs.ts';
import { exited, output, ready, shell, started, UNTIL_TERM } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';

let world: PodWorld;
const runtimes = new Map<string, RuntimeHandler>();
let directory: string | undefined;
beforeAll(async () => {
  directory = await goPrograms(RUNC, RUNC_VERSION);
  world = await PodWorld.create({ pods: { runtimes }, containers: { runtimes } });
  const handler = (name: string, path: string) => ({ name, path, rootDirectory: join(world.state, name) });
  runtimes.set('runc', handler('runc', '/usr/sbin/runc'));
  runtimes.set('other', handler('other', directory === undefined ? '/usr/sbin/runc' : join(directory, 'runc')));
}, BUILD_MS_MAX);
afterAll(() => world[Symbol.asyncDispose]());

describe('a pod of another runtime handler', () => {
  test('has its containers made, entered, updated, found again and ended by that runtime', async () => {
    const { id: podId } = await world.pods.run(podConfig({ runtimeHandler: 'other' }));
    const id = await ready(world, await started(world, podId, shell(UNTIL_TERM)));
    const plain = (await world.pods.run(podConfig())).id;
    const other = await started(world, plain, shell('sleep 60'));
    expect(await output(world, id, 'echo hello')).toBe('hello');
    await world.containers.updateResources(id, { ...resources, memoryLimitBytes: 64 << 20, cpuShares: 77 });
    await world.restart();
    await world.containers.updateResources(id, { ...resources, cpuShares: 78 });
    expect(await output(world, id, 'echo again')).toBe('again');
    await world.containers.stop(id, 10);
    expect((await exited(world, id)).exitCode).toBe(7);
    expect(world.containers.get(other).state).toBe('running');
    await world.pods.remove(podId);
    await world.pods.remove(plain);
    expect(await world.leftovers()).toEqual([]);
  });

  test('that shares one PID namespace has its init process from it, too', async () => {
    const namespaces = { network: 'node', pid: 'pod', ipc: 'pod' } as const;
    const { id: podId } = await world.pods.run(podConfig({ runtimeHandler: 'other', namespaces }));
    const config = shell('sleep 60');
    const id = await started(world, podId, {
      ...config,
      security: { ...config.security, pid: { mode: 'pod', targetId: '' } },
    });
    expect(await output(world, id, 'cat /proc/1/comm')).toMatch(/catatonit|init/);
    await world.pods.remove(podId);
  });

  test('that is not configured is refused with those that are', async () => {
    await expect(world.pods.run(podConfig({ runtimeHandler: 'kata' }))).rejects.toMatchObject({
      kind: 'InvalidArgument',
      message: expect.stringContaining('there are: runc, other'),
    });
  });
});

describe('what a runtime can do', () => {
  test('is what its own `features` say; one that is missing can do nothing and is told of', async () => {
    const missing = { name: 'gone', path: '/nowhere/crun', rootDirectory: '/x' };
    const [runc, other, gone] = await readRuntimes([...runtimes.values(), missing], silentLogger);
    expect(runc).toMatchObject({
      name: 'runc',
      version: expect.stringMatching(/^1\./),
      features: { recursiveReadOnlyMounts: true },
    });
    if (directory !== undefined) {
      expect(other).toMatchObject({ version: RUNC_VERSION.slice(1), features: { userNamespaces: true } });
      expect(runc?.features.userNamespaces).toBe(false);
    }
    expect(gone).toEqual({
      ...{ name: 'gone', path: '/nowhere/crun', version: '' },
      features: { recursiveReadOnlyMounts: false, userNamespaces: false },
    });
  });
});
