/** Pods with a user namespace of their own, on the real kernel. */
import { execFile } from 'node:child_process';
import { chown, mkdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ContainerConfig } from '../../../src/containers/index.ts';
import type { PodConfig } from '../../../src/pods/index.ts';
import { hostMount, podConfig, security } from '../../fixtures/pod-configs.ts';
import { exited, output, shell, started } from '../../fixtures/pod-steps.ts';
import { PodWorld, TEST_IMAGE } from '../../fixtures/pod-world.ts';

const FIRST = 231_072;
const range = [{ containerId: 0, hostId: FIRST, length: 65_536 }];
const mappings = { uids: range, gids: range };
const OWN = { network: 'pod', pid: 'container', ipc: 'pod' } as const;

let world: PodWorld;
beforeAll(async () => {
  world = await PodWorld.create({
    embeddedNetwork: true,
    image: { volumes: ['/data'] },
    prepareRootfs: async (directory) => {
      await mkdir(join(directory, 'data'));
      await writeFile(join(directory, 'data/file'), '');
      await chown(join(directory, 'data/file'), 7, 8);
    },
  });
});
afterAll(() => world[Symbol.asyncDispose]());

const pod = (changes: Partial<PodConfig> = {}) =>
  world.pods.run(podConfig({ userNamespace: mappings, namespaces: OWN, ...changes }));
const sleeper = (changes: Partial<ContainerConfig> = {}) => shell('while :; do sleep 1; done', changes);

describe('a pod with a user namespace', () => {
  test('is possible on this machine', async () => {
    expect(await world.snapshotter.userNamespaceObstacle()).toBeUndefined();
  });

  test('has root that is nobody on the host, in a root filesystem that is its own', async () => {
    const { id: podId } = await pod({ hostname: 'mapped', sysctls: { 'kernel.shm_rmid_forced': '1' } });
    const id = await started(world, podId, sleeper());
    const { pid } = world.containers.get(id);
    expect(await readFile(`/proc/${pid}/status`, 'utf8')).toMatch(new RegExp(`^Uid:\\s+${FIRST}\\s+${FIRST}`, 'm'));
    expect(await output(world, id, 'read line < /proc/self/uid_map; echo $line; id -u; hostname')).toBe(
      `0 ${FIRST} 65536\n0\nmapped`,
    );
    expect(await output(world, id, 'stat -c %u:%g / /bin/sh /etc/passwd /data/file /dev/shm')).toBe(
      '0:0\n0:0\n0:0\n7:8\n0:0',
    );
    const writable =
      'echo x > /new; echo x >> /etc/passwd; echo x >> /etc/hosts; echo x > /dev/shm/x; echo x > /data/new';
    expect(await output(world, id, `${writable}; cat /proc/sys/kernel/shm_rmid_forced`)).toBe('1');
    const { upper } = await upperOf(id);
    expect(await stat(join(upper, 'new'))).toMatchObject({ uid: FIRST, gid: FIRST });
    await world.pods.remove(podId);
  });

  test('may let its processes write to /dev/stdout, as any user', async () => {
    const { id: podId } = await pod({ logDirectory: join(world.directory, 'logs') });
    for (const runAsUser of [0, 1000]) {
      const user = { security: { ...security, runAsUser } };
      const config = shell('echo out > /dev/stdout; echo err > /dev/stderr', { ...user, logPath: `${runAsUser}.log` });
      const { logPath } = await exited(world, await started(world, podId, config));
      const log = await readFile(logPath, 'utf8');
      expect(log).toMatch(/ stdout F out$/m);
      expect(log).toMatch(/ stderr F err$/m);
      const id = await started(world, podId, sleeper(user));
      const { stdout, stderr } = await world.containers.execSync(id, config.command, 10);
      expect(`${stdout}${stderr}`).toBe('out\nerr\n');
    }
    await world.pods.remove(podId);
  });

  test('may share one PID namespace, and its containers each other by target', async () => {
    const { id: podId } = await pod({ namespaces: { ...OWN, pid: 'pod' } });
    const first = await started(
      world,
      podId,
      sleeper({ security: { ...security, pid: { mode: 'pod', targetId: '' } } }),
    );
    expect(await output(world, first, 'read name < /proc/1/comm; echo $name')).toBe('catatonit');
    const target = { ...security, pid: { mode: 'target', targetId: first } } as const;
    const second = await started(world, podId, sleeper({ security: target }));
    expect(await output(world, second, 'read name < /proc/1/comm; echo $name')).toBe('catatonit');
    await world.pods.remove(podId);
  });

  test('sees volumes of the host with its own IDs where the runtime can map them', async () => {
    const { stdout } = await promisify(execFile)('runc', ['features']);
    const canMap = (JSON.parse(stdout) as Features).linux?.mountExtensions?.idmap?.enabled === true;
    const hostPath = join(world.directory, 'volume');
    await mkdir(hostPath);
    await writeFile(join(hostPath, 'file'), '');
    const { id: podId } = await pod();
    const image = { name: TEST_IMAGE, subPath: 'data' };
    const mounts = [
      hostMount({ hostPath, containerPath: '/volume', idMappings: canMap ? mappings : undefined }),
      hostMount({ containerPath: '/image', image }),
    ];
    const id = await started(world, podId, sleeper({ mounts }));
    expect(await output(world, id, 'stat -c %u /volume/file /image/file')).toBe(canMap ? '0\n7' : '65534\n7');
    if (canMap) {
      await output(world, id, 'echo x > /volume/new');
      expect(await stat(join(hostPath, 'new'))).toMatchObject({ uid: 0, gid: 0 });
    }
    await world.pods.remove(podId);
  });

  test("may use the host's network, and then sees the host's /sys, which it can't change", async () => {
    const { id: podId } = await pod({ namespaces: { ...OWN, network: 'node' } });
    const id = await started(world, podId, sleeper());
    const script = 'test -e /sys/class/net/lo && echo seen; test -w /sys/kernel/mm || echo kept; id -u';
    expect(await output(world, id, script)).toBe('seen\nkept\n0');
    expect(await readlink(`/proc/${world.containers.get(id).pid}/ns/net`)).toBe(await readlink('/proc/self/ns/net'));
    await world.pods.remove(podId);
  });

  test('survives a restart of the daemon', async () => {
    const { id: podId } = await pod();
    const { id } = await world.containers.create(podId, sleeper());
    await world.restart();
    expect(world.pods.get(podId).state).toBe('ready');
    await world.containers.start(id);
    expect(await output(world, id, 'id -u')).toBe('0');
    await world.pods.remove(podId);
  });

  test('that the kernel refuses leaves nothing', async () => {
    const before = world.pods.list().length;
    const overlapping = [...range, { containerId: 1, hostId: FIRST, length: 5 }];
    const refused = pod({ userNamespace: { uids: overlapping, gids: range } });
    await expect(refused).rejects.toMatchObject({ kind: 'FailedPrecondition' });
    await expect(pod({ sysctls: { 'net.ipv4.ip_forward': 'maybe' } })).rejects.toMatchObject({
      kind: 'InvalidArgument',
    });
    expect(world.pods.list()).toHaveLength(before);
  });
});

interface Features {
  readonly linux?: { readonly mountExtensions?: { readonly idmap?: { readonly enabled?: boolean } } };
}

/** Where the writable layer of a container lies on disk. */
async function upperOf(id: string): Promise<{ upper: string }> {
  const { options } = world.snapshotter.mounts(id);
  const upper = options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
  if (upper === undefined) throw new Error('no writable layer');
  return { upper };
}
