/** A node in operation: logs, statistics, restarts of the kubelet and of cairnd under it, and its garbage. */

import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { busyboxImage } from '../fixtures/busybox-image.ts';
import type { Pod } from '../fixtures/kubelet-types.ts';
import { FOREVER, images, KubeletWorld, runtime, statusOf } from '../fixtures/kubelet-world.ts';
import { PlannedPods } from '../fixtures/planned-pods.ts';

const TIMEOUT_MS = 90_000;
/** While cairnd is away, and when there is never enough free space. */
const PROVOKED = ['code = Unavailable', 'eviction thresholds have been met'];
const CONFIGURATION = { containerLogMaxSize: '8Ki', containerLogMaxFiles: 20, containerLogMonitorInterval: '3s' };

const pods = new PlannedPods();
let world: KubeletWorld;

beforeAll(async () => {
  world = await KubeletWorld.create({ configuration: CONFIGURATION });
  await pods.start(world);
}, TIMEOUT_MS);

afterAll(async () => {
  if (world) expect(await world.end(PROVOKED)).toEqual([]);
}, TIMEOUT_MS);

const idOf = (pod: Pod, container = 'main') => (statusOf(pod, container).containerID ?? '').replace(/^\w+:\/\//, '');

describe('logs', () => {
  const talking = pods.pod('talking', (it) => ({
    containers: [
      it.container('main', `for i in 1 2 3 4 5; do echo line $i; done; sleep 1; echo error >&2; exec sleep 10000`),
    ],
  }));
  test(
    'are served whole or in part, with times where asked',
    async () => {
      await world.ready(talking);
      while (!(await world.logs(talking, 'main')).includes('error')) await sleep(100);
      expect(await world.logs(talking, 'main')).toBe('line 1\nline 2\nline 3\nline 4\nline 5\nerror\n');
      expect(await world.logs(talking, 'main', 'tailLines=2')).toBe('line 5\nerror\n');
      expect(await world.logs(talking, 'main', 'limitBytes=8')).toBe('line 1\nl');
      expect(await world.logs(talking, 'main', 'tailLines=1&timestamps=true')).toMatch(/^20\d\d-\S+ error\n$/);
    },
    TIMEOUT_MS,
  );

  const chatty = pods.pod('chatty', (it) => ({
    containers: [
      it.container(
        'main',
        `i=0; while [ $i -lt 1500 ]; do echo number $i of many; i=$((i+1)); usleep 5000; done; ${FOREVER}`,
      ),
    ],
  }));
  test(
    'are rotated without the loss of a line',
    async () => {
      const pod = await world.ready(chatty);
      const directory = join(world.kubelet.podLogs, `default_chatty-cairn-test_${pod.metadata.uid}`, 'main');
      let numbers: number[] = [];
      const deadline = Date.now() + 45_000;
      while (numbers.length < 1500 && Date.now() < deadline) {
        await sleep(500);
        numbers = await numbersIn(directory).catch(() => []);
      }
      expect(numbers).toEqual(Array.from({ length: 1500 }, (_, index) => index));
      expect((await readdir(directory)).length).toBeGreaterThan(1);
    },
    TIMEOUT_MS,
  );

  /** The numbers of all files there, the oldest first: those with a time in their name, then the current one. */
  async function numbersIn(directory: string): Promise<number[]> {
    const names = (await readdir(directory)).filter((name) => !name.endsWith('.tmp'));
    const order = [...names.filter((name) => name !== '0.log').toSorted(), '0.log'];
    const texts = order.map(async (name) => {
      const bytes = await readFile(join(directory, name));
      return (name.endsWith('.gz') ? await promisify(gunzip)(bytes) : bytes).toString();
    });
    const lines = (await Promise.all(texts)).join('').matchAll(/ stdout F number (\d+) of many$/gm);
    return [...lines].map(([, number]) => Number(number));
  }
});

describe('statistics', () => {
  const busy = pods.pod('busy', (it) => ({
    containers: [
      it.container(
        'main',
        'dd if=/dev/zero of=/file bs=1M count=3 2>/dev/null; while :; do echo working; usleep 2000; done',
      ),
    ],
  }));

  interface Summary {
    readonly node: { readonly runtime: { readonly imageFs: { readonly usedBytes: number } } };
    readonly pods: readonly {
      readonly podRef: { readonly name: string };
      readonly cpu?: { readonly usageCoreNanoSeconds: number; readonly usageNanoCores?: number };
      readonly memory?: { readonly workingSetBytes: number };
      readonly network?: { readonly name: string; readonly rxBytes: number };
      readonly process_stats?: { readonly process_count: number };
      readonly containers?: readonly {
        readonly name: string;
        readonly cpu: { readonly usageCoreNanoSeconds: number; readonly usageNanoCores?: number };
        readonly memory: { readonly workingSetBytes: number; readonly rssBytes?: number };
        readonly rootfs: { readonly usedBytes: number; readonly inodesUsed: number };
        readonly logs: { readonly usedBytes: number };
      }[];
    }[];
  }

  test(
    'of /stats/summary come from cairnd, for the pod and its container',
    async () => {
      await world.ready(busy);
      const check = (summary: Summary) => {
        const pod = summary.pods.find(({ podRef }) => podRef.name === 'busy-cairn-test');
        const container = pod?.containers?.find(({ name }) => name === 'main');
        return { pod, container, node: summary.node };
      };
      let seen = check(await summary());
      const deadline = Date.now() + 40_000;
      while (!(seen.container?.cpu.usageNanoCores && (seen.container.rootfs.usedBytes ?? 0) >= 3 << 20)) {
        if (Date.now() > deadline) break;
        await sleep(1000);
        seen = check(await summary());
      }
      expect(seen.container?.cpu.usageNanoCores).toBeGreaterThan(0);
      expect(seen.container?.memory.workingSetBytes).toBeGreaterThan(0);
      expect(seen.container?.rootfs.usedBytes).toBeGreaterThanOrEqual(3 << 20);
      expect(seen.container?.rootfs.inodesUsed).toBeGreaterThan(0);
      expect(seen.container?.logs.usedBytes).toBeGreaterThan(0);
      expect(seen.pod?.cpu?.usageCoreNanoSeconds).toBeGreaterThan(0);
      expect(seen.pod?.memory?.workingSetBytes).toBeGreaterThan(0);
      expect(seen.pod?.network).toMatchObject({ name: 'eth0', rxBytes: expect.any(Number) });
      expect(seen.pod?.process_stats?.process_count).toBeGreaterThan(0);
      expect(seen.node.runtime.imageFs.usedBytes).toBeGreaterThan(1 << 20);
      expect(await world.daemon.log()).toMatch(/"method":"(ListPodSandboxStats|StreamPodSandboxStats)"/);
    },
    TIMEOUT_MS,
  );

  test(
    'of /metrics/cadvisor and /metrics/resource name the container',
    async () => {
      await world.ready(busy);
      const cadvisor = (await world.kubelet.get('/metrics/cadvisor')).body;
      const labels = 'container="main",[^}]*pod="busy-cairn-test"';
      expect(cadvisor).toMatch(new RegExp(`^container_cpu_usage_seconds_total\\{[^}]*${labels}[^}]*\\} `, 'm'));
      expect(cadvisor).toMatch(new RegExp(`^container_memory_working_set_bytes\\{[^}]*${labels}[^}]*\\} `, 'm'));
      const resource = (await world.kubelet.get('/metrics/resource')).body;
      expect(resource).toMatch(new RegExp(`^container_cpu_usage_seconds_total\\{[^}]*${labels}[^}]*\\} `, 'm'));
    },
    TIMEOUT_MS,
  );

  const summary = async () => JSON.parse((await world.kubelet.get('/stats/summary')).body) as Summary;
});

describe('a restart', () => {
  const steady = pods.pod('steady', (it) => ({
    containers: [it.container('main', FOREVER)],
  }));

  test(
    'of cairnd, killed, touches no container; the kubelet goes on with it',
    async () => {
      const before = await world.ready(steady);
      await world.daemon.stop('SIGKILL');
      await sleep(2000);
      await world.daemon.start();
      await world.apply('later', { containers: [world.container('main', FOREVER)] });
      await world.ready('later');
      const after = await world.ready(steady);
      expect(idOf(after)).toBe(idOf(before));
      expect(statusOf(after, 'main').restartCount).toBe(0);
    },
    TIMEOUT_MS,
  );

  test(
    'of the kubelet finds its pods as they were',
    async () => {
      const before = await world.ready(steady);
      await world.kubelet.stop();
      await world.kubelet.start({ daemon: world.daemon, configuration: CONFIGURATION });
      const after = await world.ready(steady);
      expect(idOf(after)).toBe(idOf(before));
      expect(after.status.podIP).toBe(before.status.podIP);
      expect(statusOf(after, 'main').restartCount).toBe(0);
    },
    TIMEOUT_MS,
  );

  const robbed = pods.pod('robbed', (it) => ({ containers: [it.container('main', FOREVER)] }));
  test(
    'of a pod follows when its sandbox was stopped behind the kubelet’s back',
    async () => {
      const before = await world.ready(robbed);
      const { container } = await firstContainer(before);
      await world.rpc.call(runtime.stopPodSandbox, { podSandboxId: container.podSandboxId });
      const after = await world.until(
        robbed,
        (pod) => idOf(pod) !== idOf(before) && statusOf(pod, 'main').state.running !== undefined,
      );
      expect((await firstContainer(after)).container.podSandboxId).not.toBe(container.podSandboxId);
    },
    TIMEOUT_MS,
  );

  async function firstContainer(pod: Pod) {
    const { containers } = await world.rpc.call(runtime.listContainers, { filter: { id: idOf(pod) } });
    const [container] = containers;
    if (!container) throw new Error(`no container of pod ${pod.metadata.name}`);
    return { container };
  }
});

describe('garbage', () => {
  test(
    'of images that no pod uses is collected, and the images of pods stay',
    async () => {
      const unused = `${world.registry.host}/cairn/unused:1`;
      await world.registry.push('cairn/unused', busyboxImage({}, [{ path: 'unused', data: 'unused\n' }]), '1');
      await world.rpc.call(images.pullImage, { image: { image: unused } });
      await world.kubelet.stop();
      // More free space is wanted than there is, so the kubelet deletes all that it can.
      const pressure = { 'nodefs.available': '99%', 'imagefs.available': '99%' };
      const configuration = { ...CONFIGURATION, evictionHard: pressure, imageMinimumGCAge: '1ms' };
      await world.kubelet.start({ daemon: world.daemon, configuration });
      const deadline = Date.now() + 60_000;
      while ((await world.rpc.call(images.imageStatus, { image: { image: unused } })).image) {
        if (Date.now() > deadline) throw new Error('the unused image was not collected');
        await sleep(500);
      }
      expect((await world.rpc.call(images.imageStatus, { image: { image: world.image } })).image).not.toBeNull();
    },
    TIMEOUT_MS,
  );
});
