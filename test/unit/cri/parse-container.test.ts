import { describe, expect, test } from '@jest/globals';
import Long from 'long';
import type { IContainerConfig } from '../../../src/generated/cri.js';
import { container, pod, refusal, secureContainer, securePod } from './requests.ts';

const resources = (given: object) => container({ linux: { resources: given } }).resources;
const mount = (given: object) => container({ mounts: [{ containerPath: '/in', hostPath: '/out', ...given }] });

describe('a container request', () => {
  test('with a name and an image gets the defaults of the API', () => {
    expect(container()).toMatchObject({
      name: 'app',
      attempt: 0,
      image: 'alpine',
      command: [],
      workingDir: '',
      env: [],
      mounts: [],
      devices: [],
      logPath: '',
      stdin: false,
      tty: false,
      stopSignal: undefined,
      resources: { cpuPeriod: 0, memoryLimitBytes: 0, oomScoreAdj: 0, cpusetCpus: '', hugepageLimits: [], unified: {} },
      security: {
        privileged: false,
        addCapabilities: [],
        pid: { mode: 'pod', targetId: '' },
        runAsUser: undefined,
        runAsGroup: undefined,
        supplementalGroupsPolicy: 'merge',
        seccomp: { kind: 'unconfined' },
        apparmorProfile: '',
        maskedPaths: expect.arrayContaining(['/proc/kcore', '/sys/firmware']),
        readonlyPaths: expect.arrayContaining(['/proc/sys']),
      },
    });
  });

  test('keeps what it lists instead of the usual hidden paths', () => {
    const { maskedPaths, readonlyPaths } = secureContainer({ maskedPaths: ['/proc/x'], readonlyPaths: ['/proc/y'] });
    expect({ maskedPaths, readonlyPaths }).toEqual({ maskedPaths: ['/proc/x'], readonlyPaths: ['/proc/y'] });
  });

  test('has environment values of any text', () => {
    const value = 'a=b\nß\ufeff';
    expect(container({ envs: [{ key: 'X', value: Buffer.from(value) }] }).env).toEqual([{ key: 'X', value }]);
    expect(container({ envs: [{ key: 'EMPTY' }] }).env).toEqual([{ key: 'EMPTY', value: '' }]);
  });

  test('never shows an environment value that it refuses', () => {
    const envs = [{ key: 'TOKEN', value: Buffer.from([0x73, 0x65, 0x63, 0xff]) }];
    expect(refusal(() => container({ envs }))).toBe(
      'InvalidArgument: config.envs[0].value: the value of TOKEN is not UTF-8',
    );
  });

  test('asks for mounts with their propagation', () => {
    expect(mount({ propagation: 2, readonly: true, selinuxRelabel: true }).mounts).toEqual([
      {
        containerPath: '/in',
        hostPath: '/out',
        image: undefined,
        readonly: true,
        recursiveReadonly: false,
        propagation: 'rshared',
        selinuxRelabel: true,
        options: [],
        idMappings: undefined,
      },
    ]);
  });

  test('may take rights from a mount, but not add any', () => {
    const options = (...mountOptions: string[]) => mount({ mountOptions }).mounts[0]?.options;
    expect(options('noexec', 'nosuid', 'nodev')).toEqual(['noexec', 'nosuid', 'nodev']);
    for (const option of ['exec', 'suid', 'rw', 'bind', 'rshared', 'uid=0', '']) {
      expect(refusal(() => options('noexec', option))).toMatch(
        /^InvalidArgument: config\.mounts\[0\]\.mount_options\[1\]: .* is not one of nodev, noexec, /,
      );
    }
  });

  test('may mount an image, or a part of it, which is read-only in any case', () => {
    const image = { image: 'sha256:abc' };
    const mounts = [{ containerPath: '/model', image, imageSubPath: 'weights/v1' }];
    expect(container({ mounts }).mounts[0]).toMatchObject({
      image: { name: 'sha256:abc', subPath: 'weights/v1' },
      hostPath: '',
      readonly: true,
    });
    const refused = (changes: object) => refusal(() => container({ mounts: [{ ...mounts[0], ...changes }] }));
    expect(refused({ hostPath: '/x' })).toMatch(/host_path: must be empty with an image/);
    expect(refused({ propagation: 2 })).toMatch(/propagation: must be private/);
    expect(refused({ imageSubPath: '/etc' })).toMatch(/image_sub_path: .* is not below the root/);
    expect(refused({ imageSubPath: 'a/../../etc' })).toMatch(/image_sub_path: .* is not below the root/);
    expect(refused({ image: undefined, hostPath: '/x' })).toMatch(/image_sub_path: needs an image/);
  });

  test('may mount recursively read-only only where the runtime can', () => {
    const mounts = [{ containerPath: '/in', hostPath: '/out', readonly: true, recursiveReadOnly: true }];
    expect(container({ mounts }, { recursiveReadOnlyMounts: true }).mounts[0]?.recursiveReadonly).toBe(true);
    expect(refusal(() => container({ mounts }))).toMatch(/^Unimplemented: RROUnsupported: config\.mounts\[0\]/);
  });

  test('names a device inside as outside by default', () => {
    const devices = [{ hostPath: '/dev/fuse', permissions: 'rwm' }];
    expect(container({ devices }).devices).toEqual([
      { hostPath: '/dev/fuse', containerPath: '/dev/fuse', permissions: 'rwm' },
    ]);
  });

  test('has limits, of which those beyond 2^53 are none', () => {
    expect(
      resources({
        cpuQuota: -1,
        cpuPeriod: 100_000,
        cpuShares: 1024,
        memoryLimitInBytes: Long.fromString('9223372036854771712'),
        oomScoreAdj: -997,
        cpusetCpus: '0-3,7',
        hugepageLimits: [{ pageSize: '2MB', limit: Long.MAX_UNSIGNED_VALUE }],
        unified: { 'memory.high': '1' },
      }),
    ).toEqual({
      cpuQuota: -1,
      cpuPeriod: 100_000,
      cpuShares: 1024,
      memoryLimitBytes: Number.MAX_SAFE_INTEGER,
      memorySwapLimitBytes: 0,
      oomScoreAdj: -997,
      cpusetCpus: '0-3,7',
      cpusetMems: '',
      hugepageLimits: [{ pageSize: '2MB', limitBytes: Number.MAX_SAFE_INTEGER }],
      unified: { 'memory.high': '1' },
    });
  });

  test('runs as a user, by number or by name', () => {
    const runAsUser = { value: 0 };
    expect(secureContainer({ runAsUser, runAsGroup: { value: 5 }, supplementalGroups: [7] })).toMatchObject({
      runAsUser: 0,
      runAsGroup: 5,
      supplementalGroups: [7],
    });
    expect(secureContainer({ runAsUsername: 'www', runAsGroup: { value: 5 } })).toMatchObject({
      runAsUser: undefined,
      runAsUsername: 'www',
      runAsGroup: 5,
    });
  });

  test('prefers the new fields of profiles to the deprecated ones', () => {
    const deprecated = { seccompProfilePath: 'unconfined', apparmorProfile: 'unconfined' };
    expect(secureContainer(deprecated)).toMatchObject({
      seccomp: { kind: 'unconfined' },
      apparmorProfile: 'unconfined',
    });
    const runtimeDefault = { profileType: 0 } as const;
    expect(secureContainer({ ...deprecated, seccomp: runtimeDefault, apparmor: runtimeDefault })).toMatchObject({
      seccomp: { kind: 'runtimeDefault' },
      apparmorProfile: 'runtime/default',
    });
    const localhost = { seccompProfilePath: 'localhost//etc/s.json', apparmorProfile: 'localhost/mine' };
    expect(secureContainer(localhost)).toMatchObject({
      seccomp: { kind: 'localhost', path: '/etc/s.json' },
      apparmorProfile: 'localhost/mine',
    });
  });

  test('joins the PID namespace of another container', () => {
    const namespaceOptions = { pid: 3, targetId: 'abc' } as const;
    expect(secureContainer({ namespaceOptions }).pid).toEqual({ mode: 'target', targetId: 'abc' });
  });

  test("takes part in the pod's network, and asks for the node's only if the pod has it", () => {
    const onNode = securePod({ namespaceOptions: { network: 2, ipc: 2 } });
    expect(secureContainer({}, { pod: onNode }).pid.mode).toBe('pod');
    const namespaceOptions = { network: 2 } as const;
    expect(refusal(() => secureContainer({ namespaceOptions }, { pod: onNode }))).toBe('accepted');
    expect(refusal(() => secureContainer({ namespaceOptions }, { pod: pod() }))).toMatch(/namespace_options.network/);
  });

  test('is privileged only in a pod that is made for it', () => {
    expect(secureContainer({ privileged: true }, { pod: securePod({ privileged: true }) }).privileged).toBe(true);
    expect(refusal(() => secureContainer({ privileged: true }))).toMatch(/^InvalidArgument: .*privileged/);
  });

  test('stops by the signal that CRI numbers in its own way', () => {
    expect(container({ stopSignal: 13 }).stopSignal).toBe(9);
    expect(container({ stopSignal: 23 }).stopSignal).toBe(15);
  });

  test.each<[IContainerConfig, string]>([
    [{ metadata: null }, 'config.metadata: is required'],
    [{ metadata: {} }, 'config.metadata.name: is required'],
    [{ image: null }, 'config.image: is required'],
    [{ image: {} }, 'config.image.image: is required'],
    [{ windows: {} }, 'config.windows: this is a Linux host'],
    [{ args: ['a', 'b\0'] }, 'config.args[1]: has a NUL character'],
    [{ workingDir: 'tmp' }, 'config.working_dir: "tmp" is not an absolute path'],
    [{ envs: [{ key: '' }] }, 'config.envs[0].key: is required'],
    [{ envs: [{ key: 'A=B' }] }, 'config.envs[0].key: "A=B" has an equals sign'],
    [{ mounts: [{ hostPath: '/x' }] }, 'config.mounts[0].container_path: is required'],
    [{ mounts: [{ containerPath: '/x' }] }, 'config.mounts[0].host_path: is required'],
    [{ mounts: [{ containerPath: '/x', hostPath: 'x' }] }, 'config.mounts[0].host_path: "x" is not an absolute path'],
    [
      { mounts: [{ containerPath: '/x', hostPath: '/x', imageSubPath: 'y' }] },
      'config.mounts[0].image_sub_path: needs an image',
    ],
    [
      { mounts: [{ containerPath: '/x', hostPath: '/x', recursiveReadOnly: true }] },
      'config.mounts[0].recursive_read_only: needs readonly',
    ],
    [
      { mounts: [{ containerPath: '/x', hostPath: '/x', recursiveReadOnly: true, readonly: true, propagation: 1 }] },
      'config.mounts[0].recursive_read_only: needs private propagation',
    ],
    [
      { mounts: [{ containerPath: '/x', hostPath: '/x', propagation: 7 as 0 }] },
      'config.mounts[0].propagation: 7 has no meaning here',
    ],
    [{ devices: [{ containerPath: '/dev/x' }] }, 'config.devices[0].host_path: is required'],
    [
      { devices: [{ hostPath: '/dev/x', permissions: 'rx' }] },
      'config.devices[0].permissions: "rx" is not of the letters r, w and m',
    ],
    [{ logPath: '../../etc/x' }, 'config.log_path: "../../etc/x" is not below the pod\'s log directory'],
    [{ logPath: '/etc/x' }, 'config.log_path: "/etc/x" is not below the pod\'s log directory'],
    [{ stopSignal: 66 as 0 }, 'config.stop_signal: 66 is no signal'],
    [
      { linux: { resources: { oomScoreAdj: 1001 } } },
      'config.linux.resources.oom_score_adj: 1001 is not between -1000 and 1000',
    ],
    [
      { linux: { resources: { memoryLimitInBytes: -2 } } },
      'config.linux.resources.memory_limit_in_bytes: -2 is less than -1',
    ],
    [
      { linux: { resources: { memoryLimitInBytes: 2, memorySwapLimitInBytes: 1 } } },
      'config.linux.resources.memory_swap_limit_in_bytes: counts memory too, so it can be no less than its limit',
    ],
    [
      { linux: { resources: { cpusetCpus: 'all' } } },
      'config.linux.resources.cpuset_cpus: "all" is no list like 0-3,7',
    ],
    [
      { linux: { resources: { hugepageLimits: [{ limit: 1 }] } } },
      'config.linux.resources.hugepage_limits[0].page_size: is required',
    ],
    [
      { linux: { securityContext: { runAsUser: { value: 1 }, runAsUsername: 'x' } } },
      'config.linux.security_context.run_as_username: excludes run_as_user',
    ],
    [
      { linux: { securityContext: { runAsGroup: { value: 1 } } } },
      'config.linux.security_context.run_as_group: needs run_as_user or run_as_username',
    ],
    [
      { linux: { securityContext: { supplementalGroups: [1, -5] } } },
      'config.linux.security_context.supplemental_groups[1]: -5 is not between 0 and 4294967294',
    ],
    [
      { linux: { securityContext: { maskedPaths: ['proc'] } } },
      'config.linux.security_context.masked_paths[0]: "proc" is not an absolute path',
    ],
    [
      { linux: { securityContext: { namespaceOptions: { pid: 3 } } } },
      'config.linux.security_context.namespace_options.target_id: is required',
    ],
    [
      { linux: { securityContext: { namespaceOptions: { targetId: 'x' } } } },
      'config.linux.security_context.namespace_options.target_id: is only allowed with TARGET',
    ],
    [
      { linux: { securityContext: { seccomp: { profileType: 2, localhostRef: 'x.json' } } } },
      'config.linux.security_context.seccomp.localhost_ref: "x.json" is not an absolute path',
    ],
    [
      { linux: { securityContext: { namespaceOptions: { usernsOptions: { uids: [{ length: 1 }] } } } } },
      'config.linux.security_context.namespace_options.userns_options.gids: needs exactly one mapping, not 0',
    ],
    [
      { mounts: [{ containerPath: '/x', hostPath: '/x', gidMappings: [{}] }] },
      'config.mounts[0].uidMappings: the pod has no user namespace',
    ],
    [
      { linux: { securityContext: { apparmor: { profileType: 1, localhostRef: 'x' } } } },
      'config.linux.security_context.apparmor.localhost_ref: is only allowed with Localhost',
    ],
  ])('is refused when it is %j', (config, message) => {
    expect(refusal(() => container(config))).toBe(`InvalidArgument: ${message}`);
  });

  test('names CDI devices in their field and, as device plugins did before, in annotations; each counts once', () => {
    const annotations = {
      'cdi.k8s.io/b': 'v.com/gpu=1,v.com/gpu=0',
      'cdi.k8s.io/a': 'v.com/nic=x',
      other: 'v.com/gpu=9',
    };
    expect(container({ CDIDevices: [{ name: 'v.com/gpu=0' }], annotations }).cdiDevices).toEqual([
      'v.com/gpu=0',
      'v.com/nic=x',
      'v.com/gpu=1',
    ]);
    expect(refusal(() => container({ CDIDevices: [{ name: 'gpu0' }] }))).toContain(
      'InvalidArgument: config.CDI_devices[0].name',
    );
    expect(refusal(() => container({ annotations: { 'cdi.k8s.io/a': '' } }))).toContain(
      'config.annotations[cdi.k8s.io/a]',
    );
  });

  test.each(['blockio', 'rdt'])('that asks for a class of %s is refused: there is none', (kind) => {
    const annotations = { [`io.kubernetes.cri.${kind}-class`]: 'slow' };
    expect(refusal(() => container({ annotations }))).toMatch(/^FailedPrecondition: .*class "slow": Cairn has no such/);
  });

  test('may carry an SELinux label only where there is no SELinux', () => {
    const config = { linux: { securityContext: { selinuxOptions: { level: 's0' } } } };
    expect(refusal(() => container(config))).toBe('accepted');
    expect(refusal(() => container(config, { selinuxEnabled: true }))).toMatch(/^Unimplemented: .*selinux_options/);
  });
});
