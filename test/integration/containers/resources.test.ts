/** Limits of containers, as the kernel has them: at the start, and changed before it, after it and in vain. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Resources, readHostFacts } from '../../../src/containers/index.ts';
import { cgroupPaths, cpuWeight } from '../../../src/linux/index.ts';
import { podConfig, resources } from '../../fixtures/pod-configs.ts';
import { exited, output, shell, started } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';

let world: PodWorld;
let podId: string;
beforeAll(async () => {
  world = await PodWorld.create();
  podId = (await world.pods.run(podConfig())).id;
});
afterAll(() => world[Symbol.asyncDispose]());

const MIB = 1 << 20;
const limits = (changes: Partial<Resources>) => ({ resources: { ...resources, ...changes } });
const update = (id: string, changes: Partial<Resources>) =>
  world.containers.updateResources(id, { ...resources, ...changes });

/** A file of the container's cgroup: v1's name, and v2's where it is another one. */
async function limit(id: string, v1: string, v2 = v1): Promise<string> {
  const paths = await cgroupPaths(`${world.cgroupParent}/${id}`);
  const [file, directory] =
    world.cgroupVersion === 2 ? [v2, paths['unified']] : [v1, paths[v1.slice(0, v1.indexOf('.'))]];
  return (await readFile(join(directory ?? '', file), 'utf8')).trim();
}
const memory = (id: string) => limit(id, 'memory.limit_in_bytes', 'memory.max');
const quota = async (id: string) => {
  if (world.cgroupVersion === 2) return limit(id, 'cpu.max');
  return `${await limit(id, 'cpu.cfs_quota_us')} ${await limit(id, 'cpu.cfs_period_us')}`;
};
const shares = (id: string) => limit(id, 'cpu.shares', 'cpu.weight');
/** Runtimes before 2025 made weights along another curve. */
const sharesOf = (value: number) => {
  if (world.cgroupVersion === 1) return `${value}`;
  const older = 1 + Math.floor(((value - 2) * 9999) / 262_142);
  return expect.stringMatching(new RegExp(`^(${older}|${cpuWeight(value)})$`));
};
/** The machine of `npm run test:v2` has none. */
const hasCpuset = readHostFacts().cgroupControllers.has('cpuset');
const cpuset = hasCpuset ? { cpusetCpus: '0' } : {};

describe('the limits of a container', () => {
  test('are the kernel’s from the start', async () => {
    const config = limits({
      ...{ memoryLimitBytes: 64 * MIB, cpuShares: 512, cpuQuota: 50_000, cpuPeriod: 100_000, ...cpuset },
      oomScoreAdj: 500,
    });
    const id = await started(world, podId, shell('sleep 60', config));
    expect(await memory(id)).toBe(`${64 * MIB}`);
    expect(await quota(id)).toBe('50000 100000');
    if (hasCpuset) expect(await limit(id, 'cpuset.cpus')).toBe('0');
    expect(await output(world, id, 'cat /proc/1/oom_score_adj')).toBe('500');
    expect(world.containers.get(id).resources).toEqual(config.resources);
    if (world.cgroupVersion === 1) expect(await limit(id, 'memory.memsw.limit_in_bytes')).toBe(`${64 * MIB}`);
    await world.containers.stop(id, 0);
  });

  test('of a running one change in the kernel, in its status and in its spec; what is not named stays', async () => {
    const id = await started(world, podId, shell('sleep 60', limits({ memoryLimitBytes: 32 * MIB, cpuShares: 256 })));
    await update(id, { memoryLimitBytes: 48 * MIB, cpuQuota: 20_000, cpuPeriod: 50_000 });
    expect([await memory(id), await quota(id)]).toEqual([`${48 * MIB}`, '20000 50000']);
    expect(await shares(id)).toEqual(sharesOf(256));
    await update(id, { ...cpuset, oomScoreAdj: 700 });
    expect([await memory(id), await quota(id)]).toEqual([`${48 * MIB}`, '20000 50000']);
    if (hasCpuset) expect(await limit(id, 'cpuset.cpus')).toBe('0');
    expect(await output(world, id, 'cat /proc/1/oom_score_adj')).toBe('700');
    await update(id, { memoryLimitBytes: 40 * MIB, cpuShares: 1024 });
    expect([await memory(id), await shares(id)]).toEqual([`${40 * MIB}`, sharesOf(1024)]);
    const effective = { memoryLimitBytes: 40 * MIB, cpuShares: 1024, cpuQuota: 20_000, cpuPeriod: 50_000 };
    expect(world.containers.get(id).resources).toMatchObject({ ...effective, ...cpuset, oomScoreAdj: 700 });
    const spec = await world.containers.runtimeSpec(id);
    expect(spec).toMatchObject({ linux: { resources: { memory: { limit: 40 * MIB }, cpu: { quota: 20_000 } } } });
    await update(id, { memoryLimitBytes: -1, cpuQuota: -1 });
    expect(await quota(id)).toMatch(/^(-1|max) /);
    expect(Number((await memory(id)).replace('max', 'Infinity'))).toBeGreaterThan(2 ** 60);
    await world.containers.stop(id, 0);
  });

  test('survive a restart of the daemon as they were last', async () => {
    const id = await started(world, podId, shell('sleep 60', limits({ memoryLimitBytes: 32 * MIB })));
    await update(id, { memoryLimitBytes: 33 * MIB });
    await world.restart();
    expect(world.containers.get(id).resources.memoryLimitBytes).toBe(33 * MIB);
    await update(id, { cpuShares: 99 });
    expect([await memory(id), await shares(id)]).toEqual([`${33 * MIB}`, sharesOf(99)]);
    await world.containers.stop(id, 0);
  });

  test('of a created one are what it starts with', async () => {
    const { id } = await world.containers.create(podId, shell('sleep 60', limits({ memoryLimitBytes: 32 * MIB })));
    await update(id, { memoryLimitBytes: 24 * MIB, cpuShares: 128, oomScoreAdj: 321 });
    await world.containers.start(id);
    expect([await memory(id), await shares(id)]).toEqual([`${24 * MIB}`, sharesOf(128)]);
    expect(await output(world, id, 'cat /proc/1/oom_score_adj')).toBe('321');
    await world.containers.stop(id, 0);
  });

  test('of one that has exited can’t be changed', async () => {
    const id = await started(world, podId, shell('true'));
    await exited(world, id);
    await expect(update(id, { cpuShares: 5 })).rejects.toMatchObject({ kind: 'FailedPrecondition' });
  });

  test('stay as they were when the kernel or the host refuses the new ones', async () => {
    const before = { memoryLimitBytes: 32 * MIB, cpuShares: 300, cpuQuota: 30_000, cpuPeriod: 100_000 };
    const id = await started(world, podId, shell('sleep 60', limits(before)));
    const now = async () => [await memory(id), await shares(id), await quota(id)];
    const [was, status] = [await now(), world.containers.get(id).resources];
    await expect(update(id, { cpuShares: 777, cpusetCpus: '4000' })).rejects.toThrow(/cpuset/);
    expect(await now()).toEqual(was);
    await expect(update(id, { cpuShares: 778, memoryLimitBytes: 64 * 1024 })).rejects.toThrow(/memory/);
    expect(await now()).toEqual(was);
    const hugepageLimits = [{ pageSize: '2MB', limitBytes: 2 * MIB }];
    if (world.cgroupVersion === 1) {
      await expect(update(id, { hugepageLimits })).rejects.toThrow('no hugetlb cgroup controller');
      await expect(update(id, { unified: { 'memory.high': '1' } })).rejects.toThrow('cgroup v1, which knows none');
    }
    expect(await now()).toEqual(was);
    expect(world.containers.get(id).resources).toEqual(status);
    await world.containers.stop(id, 0);
  });

  test('are set back when the runtime fails after it has set some', async () => {
    const directory = await mkdtemp('/tmp/cairn-half-');
    const [script, flag] = [join(directory, 'runc'), join(directory, 'fail')];
    const fails = `[ -e ${flag} ] && { rm ${flag}; echo half done >&2; exit 1; }`;
    const lines = ['#!/bin/sh', 'runc "$@" || exit', `case " $* " in *" update "*) ${fails} ;; esac`, 'exit 0'];
    await writeFile(script, `${lines.join('\n')}\n`, { mode: 0o755 });
    {
      await using other = await PodWorld.create({ runtimePath: script });
      const pod = await other.pods.run(podConfig());
      const id = await started(other, pod.id, shell('sleep 60', limits({ cpuShares: 300, oomScoreAdj: 400 })));
      const paths = await cgroupPaths(`${other.cgroupParent}/${id}`);
      const file = other.cgroupVersion === 2 ? `${paths['unified']}/cpu.weight` : `${paths['cpu']}/cpu.shares`;
      const before = await readFile(file, 'utf8');
      await writeFile(flag, '');
      const update = { ...resources, cpuShares: 900, memoryLimitBytes: 64 * MIB };
      await expect(other.containers.updateResources(id, update)).rejects.toThrow('half done');
      expect(await readFile(file, 'utf8')).toBe(before);
      expect(other.containers.get(id).resources).toMatchObject({ cpuShares: 300, memoryLimitBytes: 0 });
      await other.containers.updateResources(id, update);
      expect(await readFile(file, 'utf8')).not.toBe(before);
    }
    await rm(directory, { recursive: true });
  });

  test('for swap count memory too', async () => {
    const id = await started(world, podId, shell('sleep 60', limits({ memoryLimitBytes: 32 * MIB })));
    const above = { memoryLimitBytes: 32 * MIB, memorySwapLimitBytes: 40 * MIB };
    await update(id, above);
    const both = () => limit(id, 'memory.memsw.limit_in_bytes', 'memory.swap.max');
    expect(await both()).toBe(`${world.cgroupVersion === 1 ? 40 * MIB : 8 * MIB}`);
    await expect(update(id, { memoryLimitBytes: 50 * MIB })).rejects.toMatchObject({ kind: 'InvalidArgument' });
    await update(id, { memoryLimitBytes: 50 * MIB, memorySwapLimitBytes: 50 * MIB });
    expect(await memory(id)).toBe(`${50 * MIB}`);
    await world.containers.stop(id, 0);
  });
});
