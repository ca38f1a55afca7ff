import { describe, expect, test } from '@jest/globals';
import type { SecurityContext } from '../../../src/containers/index.ts';
import { buildSpec } from '../../../src/containers/spec/build-spec.ts';
import type { SpecInput } from '../../../src/containers/spec/spec-input.ts';
import { containerConfig, hostFacts, imageConfig, readyPod, resources, security } from '../../fixtures/pod-configs.ts';

function input(changes: Partial<SpecInput> = {}): SpecInput {
  return {
    pod: readyPod(),
    config: containerConfig({ command: ['/bin/true'] }),
    image: imageConfig(),
    user: { uid: 0, gid: 0, additionalGids: [0] },
    host: hostFacts(),
    rootPath: '/bundle/rootfs',
    cgroupsPath: '/cairn/x',
    devices: { nodes: [], rules: [] },
    mounts: [],
    ownVolumes: [],
    rootfsPropagation: undefined,
    targetPidNamespace: undefined,
    localhostSeccomp: undefined,
    rlimits: [],
    ...changes,
  };
}
const secured = (changes: Partial<SecurityContext>) =>
  containerConfig({ command: ['/bin/true'], security: { ...security, ...changes } });
const mountAt = (spec: ReturnType<typeof buildSpec>, destination: string) =>
  spec.mounts.find((mount) => mount.destination === destination);

describe('the mounts of a spec', () => {
  test('hold what every container has, read-only where it is the host that would change', () => {
    const spec = buildSpec(input());
    expect(spec.mounts.map(({ destination }) => destination)).toEqual([
      '/proc',
      '/dev',
      '/sys',
      '/dev/pts',
      '/dev/mqueue',
      '/etc/hostname',
      '/etc/hosts',
      '/etc/resolv.conf',
      '/dev/shm',
      '/sys/fs/cgroup',
    ]);
    expect(mountAt(spec, '/sys')?.options).toContain('ro');
    expect(mountAt(spec, '/sys/fs/cgroup')?.options).toContain('ro');
    expect(mountAt(spec, '/dev/shm')?.source).toBe('/state/sandboxes/a/shm');
    expect(mountAt(spec, '/etc/hosts')?.options).toContain('rw');
  });

  test("the caller's mount takes the place of ours, and parents come first", () => {
    const bind = (destination: string) => ({ destination, type: 'bind', source: '/x', options: ['rbind', 'rw'] });
    const spec = buildSpec(input({ mounts: [bind('/a/b/c'), bind('/etc/hosts'), bind('/a')] }));
    const destinations = spec.mounts.map(({ destination }) => destination);
    expect(destinations.filter((destination) => destination === '/etc/hosts')).toHaveLength(1);
    expect(mountAt(spec, '/etc/hosts')?.source).toBe('/x');
    expect(destinations.indexOf('/a')).toBeLessThan(destinations.indexOf('/a/b/c'));
  });

  test('a privileged container may write /sys; one with a read-only root gets read-only files', () => {
    const privileged = buildSpec(input({ config: secured({ privileged: true }) }));
    expect(mountAt(privileged, '/sys')?.options).toContain('rw');
    expect(mountAt(privileged, '/sys/fs/cgroup')?.options).toContain('rw');
    const readonly = buildSpec(input({ config: secured({ readonlyRootfs: true }) }));
    expect(readonly.root.readonly).toBe(true);
    expect(mountAt(readonly, '/etc/hosts')?.options).toContain('ro');
  });

  test("on the host's IPC namespace it is the host's shared memory", () => {
    const none = { network: undefined, ipc: undefined, uts: undefined, pid: undefined, user: undefined };
    const pod = readyPod({ namespaces: none });
    expect(mountAt(buildSpec(input({ pod })), '/dev/shm')?.source).toBe('/dev/shm');
  });
});

describe('the namespaces of a spec', () => {
  const types = (changes: Partial<SpecInput>) => buildSpec(input(changes)).linux.namespaces;

  test("are the pod's, with mount and PID namespaces of its own", () => {
    expect(types({})).toEqual([
      { type: 'mount' },
      { type: 'network', path: '/run/netns/x' },
      { type: 'ipc', path: '/state/ns/ipc' },
      { type: 'uts', path: '/state/ns/uts' },
      { type: 'pid' },
    ]);
  });

  test('a cgroup namespace comes with version 2, except for privileged containers', () => {
    const host = hostFacts({ cgroupVersion: 2 });
    expect(types({ host })).toContainEqual({ type: 'cgroup' });
    expect(types({ host, config: secured({ privileged: true }) })).not.toContainEqual({ type: 'cgroup' });
  });

  test.each([
    ['pod', { type: 'pid', path: '/state/ns/pid' }],
    ['target', { type: 'pid', path: '/proc/7/ns/pid' }],
  ] as const)('PID mode %s joins that one', (mode, expected) => {
    const pod = readyPod({ namespaces: { ...readyPod().namespaces, pid: '/state/ns/pid' } });
    const config = secured({ pid: { mode, targetId: 'x' } });
    expect(types({ pod, config, targetPidNamespace: '/proc/7/ns/pid' })).toContainEqual(expected);
  });

  test("PID mode node is the host's; mode pod of a pod that shares none is refused", () => {
    const pids = types({ config: secured({ pid: { mode: 'node', targetId: '' } }) });
    expect(pids.filter(({ type }) => type === 'pid')).toEqual([]);
    expect(() => types({ config: secured({ pid: { mode: 'pod', targetId: '' } }) })).toThrow(
      expect.objectContaining({ kind: 'InvalidArgument' }),
    );
  });
});

describe('the resources of a spec', () => {
  const build = (changes: Partial<typeof resources>, host = hostFacts()) =>
    buildSpec(input({ host, config: containerConfig({ command: ['x'], resources: { ...resources, ...changes } }) }))
      .linux.resources;

  test('nothing asked for sets nothing, and no device is allowed', () => {
    expect(build({})).toEqual({ devices: [{ allow: false, access: 'rwm' }] });
  });

  test('cpu and memory are set as asked for; memory without swap means no swap', () => {
    const changes = {
      cpuShares: 512,
      cpuQuota: 50000,
      cpuPeriod: 100000,
      cpusetCpus: '0-1',
      memoryLimitBytes: 1 << 20,
    };
    expect(build(changes)).toMatchObject({
      cpu: { shares: 512, quota: 50000, period: 100000, cpus: '0-1' },
      memory: { limit: 1 << 20, swap: 1 << 20 },
    });
  });

  test('a host that does not account swap gets no swap limit', () => {
    expect(build({ memoryLimitBytes: 5 }, hostFacts({ swapAccounting: false })).memory).toEqual({ limit: 5 });
    expect(build({ memoryLimitBytes: 5, memorySwapLimitBytes: 9 }).memory).toEqual({ limit: 5, swap: 9 });
  });

  test('huge pages without the controller: zero limits are dropped, others refused', () => {
    const host = hostFacts({ cgroupControllers: new Set(['memory']) });
    expect(build({ hugepageLimits: [{ pageSize: '2MB', limitBytes: 0 }] }, host).hugepageLimits).toBeUndefined();
    expect(() => build({ hugepageLimits: [{ pageSize: '2MB', limitBytes: 1 }] }, host)).toThrow(/2MB/);
    expect(build({ hugepageLimits: [{ pageSize: '2MB', limitBytes: 0 }] }).hugepageLimits).toEqual([
      { pageSize: '2MB', limit: 0 },
    ]);
  });

  test('unified keys belong to version 2', () => {
    const unified = { 'memory.high': '1000' };
    expect(build({ unified }, hostFacts({ cgroupVersion: 2 })).unified).toEqual(unified);
    expect(() => build({ unified })).toThrow(expect.objectContaining({ kind: 'FailedPrecondition' }));
  });

  test('asked devices come after the rule that denies all; privileged may use all', () => {
    const rule = { allow: true, type: 'c' as const, major: 10, minor: 229, access: 'rw' };
    expect(buildSpec(input({ devices: { nodes: [], rules: [rule] } })).linux.resources.devices).toEqual([
      { allow: false, access: 'rwm' },
      rule,
    ]);
    expect(buildSpec(input({ config: secured({ privileged: true }) })).linux.resources.devices).toEqual([
      { allow: true, access: 'rwm' },
    ]);
  });

  test('oom_score_adj is not lower than the daemon may set', () => {
    const config = containerConfig({ command: ['x'], resources: { ...resources, oomScoreAdj: -997 } });
    expect(buildSpec(input({ config })).process.oomScoreAdj).toBe(-997);
    expect(buildSpec(input({ config, host: hostFacts({ oomScoreAdjMin: 0 }) })).process.oomScoreAdj).toBe(0);
  });
});

describe('the confinement of a spec', () => {
  test('hidden paths are those of the caller, and none for a privileged container', () => {
    const paths = { maskedPaths: ['/proc/kcore'], readonlyPaths: ['/proc/sys'] };
    expect(buildSpec(input({ config: secured(paths) })).linux).toMatchObject(paths);
    const privileged = buildSpec(input({ config: secured({ ...paths, privileged: true }) })).linux;
    expect(privileged).toMatchObject({ maskedPaths: [], readonlyPaths: [] });
  });

  test('seccomp: none, the default, the one given; never for privileged', () => {
    const filter = (changes: Partial<SecurityContext>, localhostSeccomp?: SpecInput['localhostSeccomp']) =>
      buildSpec(input({ config: secured(changes), localhostSeccomp })).linux.seccomp;
    const given = { defaultAction: 'SCMP_ACT_LOG' };
    expect(filter({})).toBeUndefined();
    expect(filter({ seccomp: { kind: 'runtimeDefault' } })?.defaultAction).toBe('SCMP_ACT_ERRNO');
    expect(filter({ seccomp: { kind: 'localhost', path: '/p' } }, given)).toEqual(given);
    expect(filter({ seccomp: { kind: 'runtimeDefault' }, privileged: true })).toBeUndefined();
  });

  test('a filter on a kernel without seccomp is refused, never left out', () => {
    const config = secured({ seccomp: { kind: 'runtimeDefault' } });
    expect(() => buildSpec(input({ config, host: hostFacts({ seccomp: false }) }))).toThrow(/no seccomp/);
  });

  test.each([
    ['', undefined],
    ['runtime/default', undefined],
    ['unconfined', undefined],
  ])('AppArmor %j without AppArmor is no profile', (apparmorProfile, expected) => {
    expect(buildSpec(input({ config: secured({ apparmorProfile }) })).process.apparmorProfile).toBe(expected);
  });

  test('an AppArmor profile that the host can not honour is refused', () => {
    const config = secured({ apparmorProfile: 'localhost/mine' });
    expect(() => buildSpec(input({ config }))).toThrow(/AppArmor is not enabled/);
    const host = hostFacts({ apparmor: { enabled: true, profiles: new Set(['cairn-default']) } });
    expect(() => buildSpec(input({ config, host }))).toThrow(/not loaded/);
    const byDefault = buildSpec(input({ host, config: secured({ apparmorProfile: 'runtime/default' }) }));
    expect(byDefault.process.apparmorProfile).toBe('cairn-default');
  });

  test.each([
    ['', false, 'cairn-default'],
    ['runtime/default', false, 'cairn-default'],
    ['localhost/mine', false, 'mine'],
    ['unconfined', false, undefined],
    ['', true, undefined],
    ['runtime/default', true, undefined],
    ['unconfined', true, undefined],
    ['localhost/mine', true, 'mine'],
  ])('with AppArmor, %j and privileged: %s, the profile is %s', (apparmorProfile, privileged, expected) => {
    const host = hostFacts({ apparmor: { enabled: true, profiles: new Set(['cairn-default', 'mine']) } });
    const config = secured({ apparmorProfile, privileged });
    expect(buildSpec(input({ config, host })).process.apparmorProfile).toBe(expected);
  });

  test('where the default AppArmor profile could not be loaded, only those who ask for it are refused', () => {
    const host = hostFacts({ apparmor: { enabled: true, profiles: new Set() } });
    const asking = secured({ apparmorProfile: 'runtime/default' });
    expect(() => buildSpec(input({ config: asking, host }))).toThrow(/cairn-default.*not loaded.*log/);
    expect(buildSpec(input({ host })).process.apparmorProfile).toBeUndefined();
  });

  test("the caller's annotations do not reach the runtime, which would act on some", () => {
    const config = containerConfig({ command: ['x'], annotations: { 'org.systemd.property.ExecStart': 'evil' } });
    expect(Object.keys(buildSpec(input({ config })).annotations)).not.toContain('org.systemd.property.ExecStart');
  });
});
