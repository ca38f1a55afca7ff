/** What a container's process really has: user, capabilities, filters, mounts, devices, limits. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { ContainerConfig, SecurityContext } from '../../../src/containers/index.ts';
import { makePropagation, mount as mountHost, unmount } from '../../../src/linux/index.ts';
import { hostMount, podConfig, resources, security } from '../../fixtures/pod-configs.ts';
import { exited, output, shell, started } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';

let world: PodWorld;
let podId: string;
beforeAll(async () => {
  world = await PodWorld.create({
    containers: { rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1234, hard: 4321 }] },
  });
  podId = (await world.pods.run(podConfig({ privileged: true, logDirectory: join(world.directory, 'logs') }))).id;
});
afterAll(() => world[Symbol.asyncDispose]());

/** What the script prints, run as the container's own process. */
async function prints(script: string, changes: Partial<ContainerConfig> = {}): Promise<string> {
  const config = shell(script, changes);
  const id = await started(world, podId, { ...config, logPath: `${config.name}.log` });
  const { logPath } = await exited(world, id);
  const lines = (await readFile(logPath, 'utf8')).split('\n').map((line) => line.split(' ').slice(3).join(' '));
  return lines.join('\n').trim();
}
const secured = (changes: Partial<SecurityContext>) => ({ security: { ...security, ...changes } });
const CAPABILITIES = 'while read name value; do case $name in CapEff:) echo $value;; esac; done < /proc/self/status';

describe('a container process', () => {
  test('is the user that was asked for, with its groups', async () => {
    const user = { runAsUser: 1234, runAsGroup: 5678, supplementalGroups: [42] };
    expect(await prints('id -u; id -g; id -G', secured(user))).toBe('1234\n5678\n5678 42');
    expect(await prints('id -un', secured({ runAsUsername: 'nobody' }))).toBe('nobody');
    const id = await started(world, podId, shell('true', secured(user)));
    expect((await exited(world, id)).user).toEqual({ uid: 1234, gid: 5678, groups: [5678, 42] });
  });

  test('has the default capabilities, those asked for, or none', async () => {
    expect(await prints(CAPABILITIES)).toBe('00000000a80425fb');
    expect(await prints(CAPABILITIES, secured({ dropCapabilities: ['ALL'] }))).toBe('0000000000000000');
    expect(await prints(CAPABILITIES, secured({ dropCapabilities: ['ALL'], addCapabilities: ['KILL'] }))).toBe(
      '0000000000000020',
    );
    const ambient = { runAsUser: 1000, dropCapabilities: ['ALL'], addAmbientCapabilities: ['KILL'] };
    expect(await prints(CAPABILITIES, secured(ambient))).toBe('0000000000000020');
  });

  test('under the default seccomp profile runs, but can not mount even with the capability dropped from the filter', async () => {
    const filter = secured({ seccomp: { kind: 'runtimeDefault' } });
    const mode = 'while read name value; do case $name in Seccomp:) echo $value;; esac; done < /proc/self/status';
    expect(await prints(mode, filter)).toBe('2');
    expect(await prints(mode)).toBe('0');
    expect(await prints('mount -t tmpfs x /tmp && echo mounted', filter)).not.toContain('mounted');
    const seccomp = { kind: 'runtimeDefault' } as const;
    // The default AppArmor profile allows no mount to anybody.
    const admin = secured({ addCapabilities: ['SYS_ADMIN'], seccomp, apparmorProfile: 'unconfined' });
    expect(await prints('mount -t tmpfs x /tmp && echo mounted', admin)).toBe('mounted');
  });

  test('under a profile of the node is filtered by it', async () => {
    const path = join(world.directory, 'profile.json');
    const rule = { names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 };
    await writeFile(path, JSON.stringify({ defaultAction: 'SCMP_ACT_ALLOW', syscalls: [rule] }));
    const localhost = secured({ seccomp: { kind: 'localhost', path } });
    expect(await prints('mkdir /tmp/x || echo refused', localhost)).toContain('refused');
  });

  test('sees no device of the host but those asked for; a privileged one sees them all and may write /sys', async () => {
    const count = 'set -- /dev/tty[0-9]*; echo $#';
    expect(await prints('test -e /dev/loop0 || test -e /dev/vda || echo none')).toBe('none');
    const devices = [{ hostPath: '/dev/zero', containerPath: '/dev/nothing', permissions: 'r' }];
    expect(await prints('head -c 3 /dev/nothing | wc -c', { devices })).toBe('3');
    // Of version 1 runc mounts the directory of the hierarchies writable; it is a tmpfs of the container's own.
    const cgroup = world.cgroupVersion === 1 ? '/sys/fs/cgroup/memory' : '/sys/fs/cgroup';
    const canWrite = `for path in /sys/kernel/mm ${cgroup}; do test -w $path && echo writable; done`;
    expect(await prints(canWrite)).toBe('');
    const privileged = secured({ privileged: true });
    expect(await prints(`${canWrite}; ${count}`, privileged)).toMatch(/^writable\nwritable\n[1-9]\d+$/);
  });

  test('has the mounts of the caller, read-only where asked, and the host path is made when it is missing', async () => {
    const hostPath = join(world.directory, 'volume');
    await mkdir(hostPath);
    await writeFile(join(hostPath, 'file'), 'content');
    const mounts = [
      hostMount({ hostPath }),
      hostMount({ hostPath, containerPath: '/data-ro', readonly: true }),
      hostMount({ hostPath: join(world.directory, 'new/one'), containerPath: '/made' }),
    ];
    const script =
      'read line < /data-ro/file; echo $line; touch /data/new && echo written; touch /data-ro/x 2>/dev/null || echo kept; test -d /made && echo made';
    expect(await prints(script, { mounts })).toBe('content\nwritten\nkept\nmade');
    expect(await readFile(join(hostPath, 'new'), 'utf8')).toBe('');
  });

  test('sees what is mounted later on a host path, where that was asked for and can be had', async () => {
    const volume = join(world.directory, 'propagated');
    await mkdir(join(volume), { recursive: true });
    const slave = { mounts: [hostMount({ hostPath: volume, propagation: 'rslave' })] };
    await expect(world.containers.create(podId, shell('true', slave))).rejects.toMatchObject({
      ...{ kind: 'FailedPrecondition', message: expect.stringMatching(/rslave.*propagated.*private/) },
    });
    mountHost({ source: 'tmpfs', target: volume, type: 'tmpfs' });
    try {
      makePropagation(volume, 'shared');
      await mkdir(join(volume, 'later'));
      const id = await started(world, podId, shell('while :; do sleep 1; done', slave));
      mountHost({ source: 'tmpfs', target: join(volume, 'later'), type: 'tmpfs' });
      await writeFile(join(volume, 'later/file'), '');
      expect(await output(world, id, 'ls /data/later')).toBe('file');
      await world.containers.remove(id);
    } finally {
      await unmount(join(volume, 'later'), { detach: true });
      await unmount(volume, { detach: true });
    }
  });

  test('has a read-only root when asked, and hidden paths as listed', async () => {
    const limits = { maskedPaths: ['/proc/timer_list'], readonlyPaths: ['/proc/sys'], readonlyRootfs: true };
    const script = 'test -w / || echo ro; wc -c < /proc/timer_list; test -w /proc/sys/kernel/hostname || echo ro';
    expect(await prints(script, secured(limits))).toBe('ro\n0\nro');
  });

  test('has the configured limits and the resources asked for', async () => {
    expect(await prints('ulimit -Sn; ulimit -Hn')).toBe('1234\n4321');
    const limited = { ...resources, memoryLimitBytes: 32 << 20, cpuShares: 512, cpuQuota: 20_000, cpuPeriod: 100_000 };
    const id = await started(world, podId, shell('sleep 100', { resources: limited }));
    const { linux } = (await world.containers.runtimeSpec(id)) as { linux: { cgroupsPath: string } };
    const read = (controller: string, file: string) =>
      readFile(`/sys/fs/cgroup/${controller}${linux.cgroupsPath}/${file}`, 'utf8').then((text) => text.trim());
    expect(linux.cgroupsPath).toBe(`${world.cgroupParent}/${id}`);
    if (world.cgroupVersion === 1) {
      expect(await read('memory', 'memory.limit_in_bytes')).toBe(String(32 << 20));
      expect(await read('cpu', 'cpu.shares')).toBe('512');
      expect(await read('cpu', 'cpu.cfs_quota_us')).toBe('20000');
    } else {
      expect(await read('', 'memory.max')).toBe(String(32 << 20));
      expect(await read('', 'cpu.max')).toBe('20000 100000');
    }
    await world.containers.remove(id);
  });

  test('gets an oom_score_adj that the daemon may give', async () => {
    const adjusted = (oomScoreAdj: number) =>
      prints('cat /proc/self/oom_score_adj', { resources: { ...resources, oomScoreAdj } });
    expect(await adjusted(500)).toBe('500');
    expect(Number(await adjusted(-997))).toBeLessThanOrEqual(0);
  });
});
