/** Sandboxes: what is shared, what is undone, what a stop gives back. */
import { readdir, readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { podConfig, security } from '../../fixtures/pod-configs.ts';
import { exited, output, ready, shell, started, UNTIL_TERM, until } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';

let world: PodWorld;
beforeAll(async () => {
  world = await PodWorld.create({ embeddedNetwork: true });
});
// What a failed test leaves must not fail the others.
afterEach(() => world.removeAll());
afterAll(() => world[Symbol.asyncDispose]());

const OWN = { network: 'pod', pid: 'container', ipc: 'pod' } as const;
const SHARED = { ...OWN, pid: 'pod' } as const;
const inPodPid = { security: { ...security, pid: { mode: 'pod' as const, targetId: '' } } };
const namespaceOf = async (id: string, kind: string) => output(world, id, `readlink /proc/self/ns/${kind}`);
const ofHost = (kind: string) => import('node:fs/promises').then(({ readlink }) => readlink(`/proc/self/ns/${kind}`));

describe('a sandbox', () => {
  test('has namespaces, addresses and files of its own', async () => {
    const dns = { servers: ['10.0.0.10'], searches: ['svc.local'], options: ['ndots:5'] };
    const sysctls = { 'net.ipv4.ip_forward': '1', 'kernel.shm_rmid_forced': '1' };
    const pod = await world.pods.run(podConfig({ namespaces: OWN, hostname: 'web-0', dns, sysctls }));
    const id = await started(world, pod.id, shell(UNTIL_TERM));
    for (const kind of ['net', 'ipc', 'uts', 'pid']) expect(await namespaceOf(id, kind)).not.toBe(await ofHost(kind));
    expect(await output(world, id, 'hostname; cat /etc/hostname')).toBe('web-0\nweb-0');
    expect(await output(world, id, 'cat /etc/resolv.conf')).toBe(
      'search svc.local\nnameserver 10.0.0.10\noptions ndots:5',
    );
    const kernel = 'cd /proc/sys; cat net/ipv4/ip_forward kernel/shm_rmid_forced net/ipv4/ip_unprivileged_port_start';
    expect(await output(world, id, kernel)).toBe('1\n1\n0');
    expect(await output(world, id, 'while read line; do echo $line; done < /proc/net/fib_trie')).toContain(pod.ips[0]);
    await world.pods.remove(pod.id);
    expect(await world.leftovers()).toEqual([]);
  });

  test("on the host's network and IPC has the host's name and namespaces", async () => {
    const pod = await world.pods.run(podConfig({ namespaces: { network: 'node', pid: 'container', ipc: 'node' } }));
    expect(pod).toMatchObject({ ips: [], networkResult: undefined });
    const id = await started(world, pod.id, shell(UNTIL_TERM));
    for (const kind of ['net', 'ipc', 'uts']) expect(await namespaceOf(id, kind)).toBe(await ofHost(kind));
    expect(await output(world, id, 'hostname; cat /etc/hostname')).toBe(`${hostname()}\n${hostname()}`);
    expect(await output(world, id, 'cat /etc/hosts')).toBe((await readFile('/etc/hosts', 'utf8')).trim());
    await world.pods.remove(pod.id);
  });

  test('is found by prefix and listed by state and label', async () => {
    const pod = await world.pods.run(podConfig({ labels: { app: 'find-me' } }));
    expect(world.pods.get(pod.id.slice(0, 13)).id).toBe(pod.id);
    expect(world.pods.list({ labels: { app: 'find-me' }, state: 'ready' })).toMatchObject([{ id: pod.id }]);
    expect(() => world.pods.get('zz')).toThrow(expect.objectContaining({ kind: 'NotFound' }));
    await world.pods.stop(pod.id);
    expect(world.pods.list({ id: pod.id, state: 'ready' })).toEqual([]);
    expect(world.pods.list({ id: pod.id, state: 'notready' })).toHaveLength(1);
    await world.pods.remove(pod.id);
  });

  test('gives its network back when it is stopped, keeps its name until it is removed', async () => {
    const config = podConfig({ namespaces: OWN });
    const pod = await world.pods.run(config);
    await expect(world.pods.run(config)).rejects.toMatchObject({
      ...{ kind: 'AlreadyExists', message: expect.stringContaining(pod.id) },
    });
    await world.pods.stop(pod.id);
    expect(await world.network.attachments()).toEqual([]);
    expect(await readdir(world.netnsDirectory)).toEqual([]);
    await expect(world.pods.run(config)).rejects.toMatchObject({ kind: 'AlreadyExists' });
    await world.pods.stop(pod.id);
    await world.pods.remove(pod.id);
    await world.pods.remove((await world.pods.run(config)).id);
    expect(await world.leftovers()).toEqual([]);
  });

  test('of ten made at once has an address of its own', async () => {
    const pods = await Promise.all(Array.from({ length: 10 }, () => world.pods.run(podConfig({ namespaces: OWN }))));
    expect(new Set(pods.map(({ ips }) => ips[0])).size).toBe(10);
    await Promise.all(pods.map(({ id }) => world.pods.remove(id)));
    expect(await world.leftovers()).toEqual([]);
  });
});

describe('a sandbox that shares one PID namespace', () => {
  test('has catatonit as its first process, and its containers see each other', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: SHARED }));
    const one = await started(world, pod.id, shell(UNTIL_TERM, inPodPid));
    const two = await started(world, pod.id, shell(UNTIL_TERM, inPodPid));
    const own = await started(world, pod.id, shell(UNTIL_TERM));
    expect(await namespaceOf(one, 'pid')).toBe(await namespaceOf(two, 'pid'));
    expect(await namespaceOf(own, 'pid')).not.toBe(await namespaceOf(one, 'pid'));
    expect(await output(world, one, 'cat /proc/1/comm')).toBe('catatonit');
    const shells = 'for pid in /proc/[0-9]*; do read comm < $pid/comm; echo $comm; done';
    expect((await output(world, one, shells)).split('\n').filter((name) => name === 'sh').length).toBeGreaterThan(2);
    await world.pods.remove(pod.id);
    expect(await world.leftovers()).toEqual([]);
  });

  test('loses no process of a stopped container: one that left its session ends as well', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: SHARED }));
    const other = await started(world, pod.id, shell(UNTIL_TERM, inPodPid));
    const id = await started(world, pod.id, shell(`setsid sleep 4711 & ${UNTIL_TERM}`, inPodPid));
    const sleepers =
      'for pid in /proc/[0-9]*; do while read -r -d "" word 2>/dev/null; do :; done; cat $pid/cmdline; echo; done';
    await until('the sleeper runs', async () => (await output(world, other, sleepers)).includes('4711'));
    await ready(world, id);
    await world.containers.stop(id, 10);
    expect(world.containers.get(id).exitCode).toBe(7);
    await until('the sleeper is gone', async () => !(await output(world, other, sleepers)).includes('4711'));
    expect(world.containers.get(other).state).toBe('running');
    await world.pods.remove(pod.id);
  });

  test('is no longer ready when its first process dies', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: SHARED }));
    const id = await started(world, pod.id, shell(UNTIL_TERM, inPodPid));
    await world.task.kill(pod.id, 9);
    await until('the pod is not ready', () => world.pods.get(pod.id).state === 'notready');
    expect(await exited(world, id)).toMatchObject({ exitCode: 137 });
    await expect(world.containers.create(pod.id, shell('true'))).rejects.toMatchObject({ kind: 'FailedPrecondition' });
    await world.pods.remove(pod.id);
    expect(await world.leftovers()).toEqual([]);
  });
});

describe('a sandbox that can not be made leaves nothing', () => {
  test.each([
    ['an unknown runtime', { runtimeHandler: 'kata' }, 'InvalidArgument', /kata.*runc/],
    ['a hostname that is too long', { hostname: 'x'.repeat(65) }, 'InvalidArgument', /64 bytes/],
    [
      'a parameter of the host',
      { sysctls: { 'vm.swappiness': '1' }, namespaces: OWN },
      'InvalidArgument',
      /swappiness/,
    ],
    [
      "a network parameter on the host's network",
      { sysctls: { 'net.ipv4.ip_forward': '1' } },
      'InvalidArgument',
      /ip_forward/,
    ],
    [
      'a value that the kernel refuses',
      { sysctls: { 'net.ipv4.ip_forward': 'maybe' }, namespaces: OWN },
      'InvalidArgument',
      /maybe/,
    ],
  ])('%s', async (_name, changes, kind, message) => {
    await expect(world.pods.run(podConfig(changes))).rejects.toMatchObject({
      ...{ kind, message: expect.stringMatching(message) },
    });
    expect(await world.leftovers()).toEqual([]);
  });

  test.each([0, 5, 20, 40, 80])('a caller that goes away after %i ms', async (delayMs) => {
    const leaving = new AbortController();
    setTimeout(() => leaving.abort(), delayMs);
    const run = world.pods.run(podConfig({ namespaces: SHARED }), leaving.signal);
    const result = await run.catch((error: unknown) => error);
    if (result instanceof Error) expect(result).toMatchObject({ kind: 'Cancelled' });
    await world.removeAll();
    expect(await world.leftovers()).toEqual([]);
  });
});

test('the init process comes from the configured image, and that is given back as well', async () => {
  await using other = await PodWorld.create({ sandboxImage: true, image: { entrypoint: ['/bin/sleep', '1000'] } });
  const pod = await other.pods.run(podConfig({ namespaces: { network: 'node', pid: 'pod', ipc: 'pod' } }));
  const id = await started(other, pod.id, shell(UNTIL_TERM, inPodPid));
  expect(await output(other, id, 'cat /proc/1/comm')).toBe('sleep');
  await other.pods.remove(pod.id);
  expect(await other.leftovers()).toEqual([]);
});

test('without a network configuration a pod is refused with the reason that the kubelet knows', async () => {
  await using bare = await PodWorld.create();
  await expect(bare.pods.run(podConfig({ namespaces: OWN }))).rejects.toMatchObject({
    ...{ kind: 'FailedPrecondition', message: expect.stringContaining('NetworkPluginNotReady') },
  });
  expect(await bare.leftovers()).toEqual([]);
  expect(bare.pods.list()).toEqual([]);
  expect(await readdir(join(bare.state, 'sandboxes'))).toEqual([]);
});
