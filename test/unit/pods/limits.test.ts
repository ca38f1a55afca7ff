import { describe, expect, test } from '@jest/globals';
import { cpuWeight, limitWritesV1, limitWritesV2, parseScopePath, slicePath } from '../../../src/linux/index.ts';
import { cgroupsPath, limitsOf, mergeResources, podCgroup } from '../../../src/pods/index.ts';
import { containerCgroup } from '../../../src/task/index.ts';
import { resources } from '../../fixtures/pod-configs.ts';

describe('the limits of a pod', () => {
  test('are those of its containers and its overhead together; an overhead alone limits nothing', () => {
    const own = {
      cpuShares: 512,
      cpuQuota: 50_000,
      cpuPeriod: 100_000,
      memoryLimitBytes: 100,
      memorySwapLimitBytes: 100,
    };
    const overhead = { ...resources, cpuShares: 10, cpuQuota: 5_000, cpuPeriod: 50_000, memoryLimitBytes: 7 };
    expect(limitsOf({ resources: { ...resources, ...own }, overhead })).toMatchObject({
      ...{ cpuShares: 522, cpuQuotaUs: 60_000, cpuPeriodUs: 100_000, memoryBytes: 107, memorySwapBytes: 107 },
    });
    const unlimited = { ...resources, memoryLimitBytes: -1 };
    expect(limitsOf({ resources: unlimited, overhead })).toMatchObject({ memoryBytes: -1, cpuShares: undefined });
  });

  test('that an update does not name stay', () => {
    const before = { ...resources, cpuShares: 5, hugepageLimits: [{ pageSize: '2MB', limitBytes: 1 }] };
    const update = { ...resources, memoryLimitBytes: 9, hugepageLimits: [{ pageSize: '1GB', limitBytes: 2 }] };
    expect(mergeResources(before, update)).toMatchObject({
      ...{ cpuShares: 5, memoryLimitBytes: 9 },
      hugepageLimits: [...before.hugepageLimits, ...update.hugepageLimits],
    });
  });
});

describe('limits as files', () => {
  const lines = (writes: readonly { file: string; value: string }[]) =>
    writes.map(({ file, value }) => `${file}=${value}`);

  test('of version 1 never let memory be above memory and swap together, on the way up and down', () => {
    const limits = { memoryBytes: 50, memorySwapBytes: 50 };
    const [memory, both] = ['memory.limit_in_bytes=50', 'memory.memsw.limit_in_bytes=50'];
    expect(lines(limitWritesV1(limits, { memoryBytes: 10, memorySwapBytes: 20 }))).toEqual([both, memory]);
    expect(lines(limitWritesV1(limits, { memoryBytes: 90, memorySwapBytes: 90 }))).toEqual([memory, both]);
    expect(lines(limitWritesV1(limits, { memoryBytes: 90, memorySwapBytes: undefined }))).toEqual([memory]);
  });

  test('of version 2 have weights, "max", and swap by itself', () => {
    const limits = {
      cpuShares: 1024,
      cpuQuotaUs: -1,
      memoryBytes: 50,
      memorySwapBytes: 80,
      unified: { 'memory.high': '9' },
    };
    expect(lines(limitWritesV2(limits))).toEqual([
      'cpu.weight=100',
      'cpu.max=max 100000',
      'memory.max=50',
      'memory.swap.max=30',
      'memory.high=9',
    ]);
    expect(
      lines(limitWritesV2({ memoryBytes: -1, memorySwapBytes: -1, hugepages: [{ pageSize: '2MB', limitBytes: 4 }] })),
    ).toEqual(['memory.max=max', 'memory.swap.max=max', 'hugetlb.2MB.max=4']);
    expect(() => limitWritesV2({ unified: { '../cgroup.procs': '1' } })).toThrow('no file of a controller');
    expect(() => limitWritesV2({ unified: { 'cgroup.procs': '1' } })).toThrow('no file of a controller');
  });

  test.each([
    [0, 1],
    [2, 1],
    [1024, 100],
    [262_144, 10_000],
  ])('%i shares are a weight of %i', (shares, weight) => {
    expect(cpuWeight(shares)).toBe(weight);
  });
});

describe('a cgroup of systemd', () => {
  test('lies where the dashes of its name say', () => {
    expect(slicePath('a.slice')).toBe('/a.slice');
    expect(slicePath('kubepods-burstable-pod1_2.slice')).toBe(
      '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice',
    );
    for (const name of ['a', '-.slice', 'a--b.slice', 'a-.slice', '.slice', '../x.slice', 'a b.slice']) {
      expect(slicePath(name)).toBeUndefined();
    }
  });

  test('of a container is a scope in its pod’s slice, however the kubelet wrote the slice', () => {
    for (const parent of ['/kubepods.slice/kubepods-pod1.slice', 'kubepods-pod1.slice']) {
      const path = cgroupsPath('systemd', parent, 'abc');
      expect(path).toBe('kubepods-pod1.slice:cairn:abc');
      expect(parseScopePath(path)).toEqual({ slice: 'kubepods-pod1.slice', scope: 'cairn-abc.scope' });
      expect(containerCgroup(path)).toBe(`${podCgroup('systemd', parent)}/cairn-abc.scope`);
    }
    expect(containerCgroup('/kubepods/pod1/abc')).toBe('/kubepods/pod1/abc');
    expect(() => podCgroup('systemd', '/kubepods/pod1')).toThrow('must be a slice');
    expect(() => containerCgroup('pod1:cairn:abc')).toThrow('is not of the form');
  });
});
