/**
 * The systemd cgroup driver, on a systemd that is started for it:
 * `npm run test:v2 -- --shell sh test/v2/with-systemd.sh jest --selectProjects v2 --testPathPatterns systemd`. Skipped without.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readHostFacts } from '../../src/containers/index.ts';
import { cgroupPaths } from '../../src/linux/index.ts';
import { podConfig, resources } from '../fixtures/pod-configs.ts';
import { exited, output, ready, shell, started, UNTIL_TERM } from '../fixtures/pod-steps.ts';
import { PodWorld } from '../fixtures/pod-world.ts';

const PARENT = '/cairntest.slice';
const POD_SLICE = '/cairntest.slice/cairntest-pod1.slice';
const isSystemd = existsSync('/run/systemd/system');
const MIB = 1 << 20;

(isSystemd ? describe : describe.skip)('with the systemd driver', () => {
  let world: PodWorld;
  beforeAll(async () => {
    const driver = { cgroupDriver: 'systemd' } as const;
    world = await PodWorld.create({ pods: { ...driver, defaultCgroupParent: PARENT }, containers: driver });
  });
  afterAll(() => world?.[Symbol.asyncDispose]());

  const limit = async (cgroup: string, file: string) =>
    (await readFile(`${(await cgroupPaths(cgroup))['unified']}/${file}`, 'utf8')).trim();
  const cgroupOf = async (pid: number | undefined) => (await readFile(`/proc/${pid}/cgroup`, 'utf8')).trim();

  test('a container is a scope in its pod’s slice, its monitor another beside it, and both go with it', async () => {
    expect(readHostFacts().cgroupVersion).toBe(2);
    const { id: podId } = await world.pods.run(podConfig({ cgroupParent: POD_SLICE }));
    const config = shell(UNTIL_TERM, { resources: { ...resources, memoryLimitBytes: 64 * MIB } });
    const id = await ready(world, await started(world, podId, config));
    const scope = `${POD_SLICE}/cairn-${id}.scope`;
    const { pid } = world.containers.get(id);
    expect(await cgroupOf(pid)).toBe(`0::${scope}`);
    const { PPid } = Object.fromEntries(
      (await readFile(`/proc/${pid}/status`, 'utf8')).split('\n').map((l) => l.split(':\t')),
    );
    expect(await cgroupOf(Number(PPid))).toBe(`0::${POD_SLICE}/cairn-conmon-${id}.scope`);
    expect(await limit(scope, 'memory.max')).toBe(`${64 * MIB}`);
    await world.containers.updateResources(id, { ...resources, memoryLimitBytes: 80 * MIB });
    expect(await limit(scope, 'memory.max')).toBe(`${80 * MIB}`);
    expect(await output(world, id, 'echo in')).toBe('in');
    await world.pods.updateResources(podId, {
      resources: { ...resources, memoryLimitBytes: 96 * MIB },
      overhead: resources,
    });
    expect(await limit(POD_SLICE, 'memory.max')).toBe(`${96 * MIB}`);
    await world.restart();
    expect(await output(world, id, 'echo again')).toBe('again');
    await world.containers.stop(id, 60);
    expect((await exited(world, id)).exitCode).toBe(7);
    await world.pods.remove(podId);
    for (const name of [scope, `${POD_SLICE}/cairn-conmon-${id}.scope`]) {
      expect(existsSync(`${(await cgroupPaths(name))['unified']}`)).toBe(false);
    }
  });

  test('a parent that is no slice is refused', async () => {
    await expect(world.pods.run(podConfig({ cgroupParent: '/kubepods/pod1' }))).rejects.toMatchObject({
      kind: 'InvalidArgument',
    });
  });
});
