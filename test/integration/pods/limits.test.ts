/** UpdatePodSandboxResources on the pod's cgroup. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { cgroupPaths, createCgroup, removeCgroup } from '../../../src/linux/index.ts';
import type { Resources } from '../../../src/pods/index.ts';
import { podConfig, resources } from '../../fixtures/pod-configs.ts';
import { shell, started } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';

let world: PodWorld;
let cgroup: string;
beforeAll(async () => {
  world = await PodWorld.create();
  cgroup = `${world.cgroupParent}/pod`;
  await createCgroup(cgroup);
});
afterAll(async () => {
  await world.removeAll();
  await removeCgroup(cgroup);
  await world[Symbol.asyncDispose]();
});

async function limit(v1: string, v2: string): Promise<string> {
  const paths = await cgroupPaths(cgroup);
  const [file, directory] =
    world.cgroupVersion === 2 ? [v2, paths['unified']] : [v1, paths[v1.slice(0, v1.indexOf('.'))]];
  return (await readFile(join(directory ?? '', file), 'utf8')).trim();
}
const memory = () => limit('memory.limit_in_bytes', 'memory.max');
const given = (changes: Partial<Resources>): Resources => ({ ...resources, ...changes });
const MIB = 1 << 20;

describe('the resources of a pod', () => {
  test('are kept as the request has them, and limit its cgroup once they are updated, overhead on top', async () => {
    const before = await memory();
    const asked = { resources: given({ memoryLimitBytes: 10 * MIB }), overhead: given({ memoryLimitBytes: MIB }) };
    const { id } = await world.pods.run(podConfig({ cgroupParent: cgroup, ...asked }));
    // The sum over those containers that have a limit: others are in the pod as well.
    expect(await memory()).toBe(before);
    expect(world.pods.get(id).config).toMatchObject(asked);
    await started(world, id, shell('sleep 60'));
    const update = given({ memoryLimitBytes: 64 * MIB, cpuShares: 300, cpuQuota: 50_000, cpuPeriod: 100_000 });
    await world.pods.updateResources(id, { resources: update, overhead: resources });
    expect(await memory()).toBe(`${65 * MIB}`);
    expect(await limit('cpu.cfs_quota_us', 'cpu.max')).toMatch(/^50000/);
    await world.restart();
    expect(world.pods.get(id).config).toMatchObject({ resources: update, overhead: asked.overhead });
    await world.pods.updateResources(id, { resources: given({ memoryLimitBytes: 80 * MIB }), overhead: resources });
    expect(await memory()).toBe(`${81 * MIB}`);

    const refused = given({ memoryLimitBytes: 70 * MIB, cpusetCpus: '4000' });
    await expect(world.pods.updateResources(id, { resources: refused, overhead: resources })).rejects.toThrow(/cpuset/);
    expect([await memory(), world.pods.get(id).config.resources.memoryLimitBytes]).toEqual([`${81 * MIB}`, 80 * MIB]);
    await world.pods.stop(id);
    await expect(world.pods.updateResources(id, { resources: update, overhead: resources })).rejects.toMatchObject({
      kind: 'FailedPrecondition',
    });
  });

  test('can’t be set for a pod without a cgroup of its own', async () => {
    const { id } = await world.pods.run(podConfig());
    await expect(world.pods.updateResources(id, { resources, overhead: resources })).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: expect.stringContaining('named no cgroup_parent'),
    });
  });
});
