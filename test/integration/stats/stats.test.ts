/** Usage and metrics of real containers, over the CRI. */
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type Long from 'long';
import { type ContainerStats, MetricType, RuntimeService } from '../../../src/generated/cri.js';
import { CriNode, eventually } from '../../fixtures/cri-node.ts';

const runtime = RuntimeService.methods;
const TIMEOUT_MS = 180_000;
const KERNEL_HAS_PRESSURE = existsSync('/proc/pressure/cpu');
const MEBIBYTE = 1024 * 1024;
const BUSY = 'while :; do :; done';
const IDLE = 'while :; do sleep 1; done';

let node: CriNode;
let pod: string;
let busy: string;
let idle: string;
/** No process but those of containers lives in it, and it has none. */
let empty: string;
let shared: string;
let inShared: string;

beforeAll(async () => {
  node = await CriNode.create();
  pod = await node.runPod(node.podConfig('web'));
  busy = await node.runContainer(pod, 'busy', BUSY);
  idle = await node.runContainer(pod, 'idle', IDLE);
  empty = await node.runPod(node.podConfig('empty'));
  shared = await node.runPod(node.podConfig('shared', {}, ''));
  inShared = await node.runContainer(shared, 'in-shared', BUSY);
}, TIMEOUT_MS);
afterAll(() => node?.[Symbol.asyncDispose](), TIMEOUT_MS);

const number = (value: { readonly value: Long } | null | undefined) => {
  if (!value) throw new Error('no value');
  return value.value.toNumber();
};

async function statsOf(containerId: string): Promise<ContainerStats> {
  const { stats } = await node.rpc.call(runtime.containerStats, { containerId });
  if (!stats) throw new Error('no stats');
  return stats;
}

async function linuxOf(podSandboxId: string) {
  const { stats } = await node.rpc.call(runtime.podSandboxStats, { podSandboxId });
  if (!stats?.linux) throw new Error('no stats');
  return stats.linux;
}

async function gather<T>(stream: AsyncIterable<T>): Promise<T[]> {
  return await Array.fromAsync(stream);
}

describe('stats of a container', () => {
  test('a busy one uses most of the quota that it has, an idle one next to nothing', async () => {
    await Promise.all([statsOf(busy), statsOf(idle)]);
    await sleep(2_500);
    const [first, second] = await Promise.all([statsOf(busy), statsOf(idle)]);
    // The quota is 0.8 of a core; the machine may be busy with other things.
    expect(number(first.cpu?.usageNanoCores)).toBeGreaterThan(1e8);
    expect(number(first.cpu?.usageNanoCores)).toBeLessThan(9.5e8);
    expect(number(second.cpu?.usageNanoCores)).toBeLessThan(1e8);
    expect(number(first.cpu?.usageCoreNanoSeconds)).toBeGreaterThan(5e8);
    expect(Math.abs(Number(first.cpu?.timestamp) / 1e6 - Date.now())).toBeLessThan(5_000);
    expect(first.attributes).toMatchObject({ id: busy, metadata: { name: 'busy' }, labels: { role: 'busy' } });
  });

  test('the working set holds what it allocated, and leaves the rest of the limit', async () => {
    const before = number((await statsOf(idle)).memory?.workingSetBytes);
    await node.exec(idle, 'dd if=/dev/zero of=/dev/shm/ballast bs=1M count=32 2>/dev/null');
    const { memory } = await statsOf(idle);
    const grown = number(memory?.workingSetBytes) - before;
    expect(grown).toBeGreaterThan(31 * MEBIBYTE);
    expect(grown).toBeLessThan(48 * MEBIBYTE);
    expect(number(memory?.availableBytes)).toBe(256 * MEBIBYTE - number(memory?.workingSetBytes));
    expect(number(memory?.usageBytes)).toBeGreaterThanOrEqual(number(memory?.workingSetBytes));
    expect(number(memory?.pageFaults)).toBeGreaterThan(0);
    expect(number(memory?.rssBytes)).toBeLessThan(number(memory?.usageBytes));
    await node.exec(idle, 'rm /dev/shm/ballast');
  });

  test('has pressure where the kernel has it for cgroups', async () => {
    const { cpu, memory, io } = await statsOf(busy);
    if (!KERNEL_HAS_PRESSURE) {
      expect([cpu?.psi, memory?.psi, io?.psi ?? null]).toEqual([null, null, null]);
      return;
    }
    // The quota makes it wait.
    await eventually(
      'the CPU pressure has grown',
      async () => Number((await statsOf(busy)).cpu?.psi?.Some?.Total ?? 0) > 0,
    );
    expect(cpu?.psi?.Some?.Avg10).toBeGreaterThanOrEqual(0);
    expect([memory?.psi?.Full, io?.psi?.Some]).toEqual([expect.anything(), expect.anything()]);
  });

  test(
    'the writable layer is as large as what was written to it, measured anew after some seconds',
    async () => {
      const before = (await statsOf(idle)).writableLayer;
      expect(before?.fsId?.mountpoint).toBe(node.daemon.root);
      await node.exec(idle, 'dd if=/dev/zero of=/written bs=1M count=8 2>/dev/null; : > /empty');
      expect((await statsOf(idle)).writableLayer?.timestamp).toEqual(before?.timestamp);
      await eventually('the layer was measured again', async () => {
        const { writableLayer } = await statsOf(idle);
        return number(writableLayer?.usedBytes) >= number(before?.usedBytes) + 8 * MEBIBYTE;
      });
      const after = (await statsOf(idle)).writableLayer;
      expect(number(after?.usedBytes)).toBeLessThan(number(before?.usedBytes) + 9 * MEBIBYTE);
      expect(number(after?.inodesUsed)).toBe(number(before?.inodesUsed) + 2);
    },
    TIMEOUT_MS,
  );

  test('one that has ended has its layer and nothing else, and is not listed', async () => {
    const ended = await node.runContainer(pod, 'ended', 'echo x > /x; exit 0');
    await eventually('it has ended', async () => {
      const { status } = await node.rpc.call(runtime.containerStatus, { containerId: ended });
      return status?.finishedAt.gt(0) ?? false;
    });
    await eventually('its layer was measured', async () => (await statsOf(ended)).writableLayer?.inodesUsed != null);
    const { cpu, memory, writableLayer } = await statsOf(ended);
    expect([cpu, memory]).toEqual([null, null]);
    expect(number(writableLayer?.inodesUsed)).toBeGreaterThan(1);
    const { stats } = await node.rpc.call(runtime.listContainerStats, { filter: { podSandboxId: pod } });
    expect(stats.map(({ attributes }) => attributes?.metadata?.name).sort()).toEqual(['busy', 'idle']);
    await node.rpc.call(runtime.removeContainer, { containerId: ended });
    await expect(statsOf(ended)).rejects.toMatchObject({ kind: 'NotFound' });
  });
});

describe('stats of a pod', () => {
  test('have its processes and containers, and CPU and memory of its whole cgroup', async () => {
    const linux = await linuxOf(pod);
    expect(linux.containers.map(({ attributes }) => attributes?.id).sort()).toEqual([busy, idle].sort());
    expect(number(linux.process?.processCount)).toBeGreaterThanOrEqual(2);
    expect(number(linux.process?.processCount)).toBeLessThan(6);
    const sum = linux.containers.map(({ cpu }) => number(cpu?.usageCoreNanoSeconds)).reduce((a, b) => a + b);
    // Its monitors are in it too.
    expect(number(linux.cpu?.usageCoreNanoSeconds)).toBeGreaterThan(sum * 0.9);
    expect(number(linux.memory?.workingSetBytes)).toBeGreaterThan(0);
    expect(linux.memory?.availableBytes).toBeNull();
    if (KERNEL_HAS_PRESSURE) expect(linux.io?.psi).toEqual(expect.anything());
  });

  test('are the sum of its containers where the cgroup is not its own', async () => {
    const linux = await linuxOf(shared);
    const [only] = linux.containers;
    expect(only?.attributes?.id).toBe(inShared);
    const difference = number(linux.cpu?.usageCoreNanoSeconds) - number(only?.cpu?.usageCoreNanoSeconds);
    expect(difference).toBe(0);
    expect(linux.cpu?.psi).toBeNull();
  });

  test.each([
    ['with containers', () => pod],
    ['without any process', () => empty],
  ])('the network counters of one %s move with its traffic', async (_, id) => {
    const bytes = async () => {
      const { network } = await linuxOf(id());
      expect(network?.defaultInterface?.name).toBe('eth0');
      expect(network?.interfaces.map(({ name }) => name)).toEqual(['lo']);
      return [number(network?.defaultInterface?.rxBytes), number(network?.defaultInterface?.txBytes)];
    };
    const status = (await node.rpc.call(runtime.podSandboxStatus, { podSandboxId: id() })).status;
    const [rx = 0, tx = 0] = await bytes();
    for (let round = 0; round < 20; round++) await knock(status?.network?.ip ?? '');
    const [rxAfter = 0, txAfter = 0] = await bytes();
    // A SYN and its refusal: 54 bytes at least, each way.
    expect(rxAfter - rx).toBeGreaterThanOrEqual(20 * 54);
    expect(txAfter - tx).toBeGreaterThanOrEqual(20 * 54);
  });
});

/** Connects to a port where nobody listens. */
function knock(host: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ host, port: 9 });
    socket.once('error', () => resolve());
    socket.once('connect', () => socket.destroy());
    socket.once('close', () => resolve());
  });
}

describe('lists', () => {
  test('are filtered by ID, pod and labels, and the same as streams', async () => {
    const ids = async (filter: object) => {
      const { stats } = await node.rpc.call(runtime.listContainerStats, { filter });
      const streamed = (await gather(node.rpc.stream(runtime.streamContainerStats, { filter }))).flatMap(
        ({ containerStats }) => containerStats,
      );
      const [listed, again] = [stats, streamed].map((all) => all.map(({ attributes }) => attributes?.id).sort());
      expect(again).toEqual(listed);
      return listed;
    };
    expect(await ids({})).toEqual([busy, idle, inShared].sort());
    expect(await ids({ id: busy.slice(0, 12) })).toEqual([busy]);
    expect(await ids({ podSandboxId: pod, labelSelector: { role: 'idle' } })).toEqual([idle]);
    expect(await ids({ id: busy, podSandboxId: shared })).toEqual([]);
    expect(await ids({ id: 'abcdef' })).toEqual([]);
    const pods = async (filter: object) => {
      const { stats } = await node.rpc.call(runtime.listPodSandboxStats, { filter });
      const streamed = (await gather(node.rpc.stream(runtime.streamPodSandboxStats, { filter }))).flatMap(
        ({ podSandboxStats }) => podSandboxStats,
      );
      expect(streamed.map(({ attributes }) => attributes?.id)).toEqual(stats.map(({ attributes }) => attributes?.id));
      return stats.map(({ attributes }) => attributes?.metadata?.name).sort();
    };
    expect(await pods({})).toEqual(['empty', 'shared', 'web']);
    expect(await pods({ labelSelector: { app: 'web' } })).toEqual(['web']);
    expect(await pods({ id: shared })).toEqual(['shared']);
  });

  test('of pods, containers and images stream the items that the lists have', async () => {
    const listed = await node.rpc.call(runtime.listPodSandbox, {});
    const [streamed, ...more] = await gather(node.rpc.stream(runtime.streamPodSandboxes, {}));
    expect([streamed?.podSandboxes, more]).toEqual([listed.items, []]);
    const filter = { podSandboxId: pod };
    const containers = await gather(node.rpc.stream(runtime.streamContainers, { filter }));
    expect(containers.flatMap((one) => one.containers)).toEqual(
      (await node.rpc.call(runtime.listContainers, { filter })).containers,
    );
    expect(await gather(node.rpc.stream(runtime.streamContainers, { filter: { id: 'abcdef' } }))).toEqual([]);
  });
});

describe('metrics', () => {
  test('each has a descriptor with as many labels, no series comes twice, and they tell the truth', async () => {
    const { descriptors } = await node.rpc.call(runtime.listMetricDescriptors, {});
    const { podMetrics } = await node.rpc.call(runtime.listPodSandboxMetrics, {});
    const streamed = await gather(node.rpc.stream(runtime.streamPodSandboxMetrics, {}));
    expect(streamed.flatMap((one) => one.podSandboxMetrics.map(({ podSandboxId }) => podSandboxId)).sort()).toEqual(
      [pod, empty, shared].sort(),
    );
    const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
    const all = podMetrics.flatMap(({ metrics, containerMetrics }) => [
      ...metrics,
      ...containerMetrics.flatMap((one) => one.metrics),
    ]);
    for (const { name, labelValues, timestamp } of all) {
      expect([name, labelValues.length]).toEqual([name, keys.get(name)?.length]);
      expect(Number(timestamp)).toBe(0);
    }
    const identities = all.map(({ name, labelValues }) => JSON.stringify([name, labelValues]));
    expect(new Set(identities).size).toBe(identities.length);

    const web = podMetrics.find(({ podSandboxId }) => podSandboxId === pod);
    const ofBusy = web?.containerMetrics.find(({ containerId }) => containerId === busy)?.metrics ?? [];
    const value = (name: string) => {
      const metric = ofBusy.find((one) => one.name === name);
      return metric && Number(metric.value?.value);
    };
    const labels = Object.fromEntries(
      (keys.get('container_processes') ?? []).map((key, index) => [
        key,
        ofBusy.find(({ name }) => name === 'container_processes')?.labelValues[index],
      ]),
    );
    expect(labels).toEqual({ container: 'busy', namespace: 'test', pod: 'web', id: busy, image: node.image });
    expect(value('container_processes')).toBe(1);
    expect(value('container_threads')).toBe(1);
    expect(value('container_file_descriptors')).toBeGreaterThanOrEqual(3);
    expect(value('container_sockets')).toBe(0);
    expect(value('container_ulimits_soft')).toBeGreaterThan(0);
    expect(value('container_spec_memory_limit_bytes')).toBe(256 * MEBIBYTE);
    expect(value('container_spec_cpu_quota')).toBe(80_000);
    expect(value('container_spec_cpu_period')).toBe(100_000);
    expect(value('container_spec_cpu_shares')).toBe(512);
    // More than none where the machine is free enough for the quota to be used up.
    expect(value('container_cpu_cfs_throttled_periods_total')).toBeGreaterThanOrEqual(0);
    expect(value('container_cpu_usage_seconds_total')).toBeGreaterThan(0);
    expect(value('container_oom_events_total')).toBe(0);
    expect(value('container_fs_limit_bytes')).toBeGreaterThan(100 * MEBIBYTE);
    expect(Math.abs((value('container_start_time_seconds') ?? 0) - Date.now() / 1000)).toBeLessThan(120);
    expect(ofBusy.find(({ name }) => name === 'container_processes')?.metricType).toBe(MetricType.GAUGE);

    const ofPod = web?.metrics ?? [];
    const received = ofPod.find(({ name }) => name === 'container_network_receive_bytes_total');
    expect(received?.labelValues.at(-1)).toBe('eth0');
    expect(received?.metricType).toBe(MetricType.COUNTER);
    const ofShared = podMetrics.find(({ podSandboxId }) => podSandboxId === shared)?.metrics ?? [];
    expect(ofPod.some(({ name }) => name === 'container_memory_working_set_bytes')).toBe(true);
    expect(ofShared.some(({ name }) => name === 'container_memory_working_set_bytes')).toBe(false);
  });
});
