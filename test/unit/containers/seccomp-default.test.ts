import { describe, expect, test } from '@jest/globals';
import { defaultSeccompProfile } from '../../../src/containers/spec/seccomp-default.ts';

const allowed = (capabilities: readonly string[], architecture = 'x64') =>
  new Set(defaultSeccompProfile(capabilities, architecture).syscalls?.[0]?.names);
const rulesFor = (name: string, capabilities: readonly string[] = []) =>
  (defaultSeccompProfile(capabilities, 'x64').syscalls ?? []).filter((rule) => rule.names.includes(name));

describe('the default seccomp profile', () => {
  test('refuses with EPERM what it does not list', () => {
    const profile = defaultSeccompProfile([], 'x64');
    expect(profile).toMatchObject({ defaultAction: 'SCMP_ACT_ERRNO', defaultErrnoRet: 1 });
    for (const name of [
      'mount',
      'bpf',
      'keyctl',
      'init_module',
      'kexec_load',
      'io_uring_setup',
      'userfaultfd',
      'reboot',
    ]) {
      expect(rulesFor(name)).toEqual([]);
    }
  });

  test('allows what programs need', () => {
    const names = allowed([]);
    for (const name of ['read', 'execve', 'openat2', 'futex', 'epoll_wait', 'rseq', 'statx', 'arch_prctl', 'ptrace']) {
      expect(names).toContain(name);
    }
  });

  test('clone makes no namespaces, and clone3 is as if the kernel had none', () => {
    expect(rulesFor('clone')).toEqual([
      {
        names: ['clone'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value: 0x7e020000, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
      },
    ]);
    expect(rulesFor('clone3')).toEqual([{ names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: 38 }]);
  });

  test('CAP_SYS_ADMIN frees clone and mount', () => {
    expect(rulesFor('clone3', ['CAP_SYS_ADMIN'])).toHaveLength(1);
    expect(allowed(['CAP_SYS_ADMIN'])).toContain('clone3');
    expect(allowed(['CAP_SYS_ADMIN'])).toContain('mount');
  });

  test.each([
    ['CAP_SYS_CHROOT', 'chroot'],
    ['CAP_SYS_TIME', 'clock_settime'],
    ['CAP_SYS_MODULE', 'finit_module'],
    ['CAP_SYS_BOOT', 'reboot'],
    ['CAP_BPF', 'bpf'],
    ['CAP_SYSLOG', 'syslog'],
  ])('%s allows %s', (capability, name) => {
    expect(allowed([])).not.toContain(name);
    expect(allowed([capability])).toContain(name);
  });

  test('no vsock and no AF_ALG sockets, one comparison a rule', () => {
    const matches = (family: number) =>
      rulesFor('socket').some(({ args }) => {
        const [{ op, value } = { op: '', value: 0 }] = args ?? [];
        return op === 'SCMP_CMP_LT' ? family < value : op === 'SCMP_CMP_GT' ? family > value : family === value;
      });
    expect([1, 2, 10, 16, 17, 29, 39, 44].map(matches)).toEqual(Array(8).fill(true));
    expect([38, 40].map(matches)).toEqual([false, false]);
    for (const { args } of rulesFor('socket')) expect(args).toHaveLength(1);
  });

  test('knows the platform', () => {
    expect(defaultSeccompProfile([], 'arm64').architectures).toEqual(['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM']);
    expect(allowed([], 'arm64')).not.toContain('arch_prctl');
  });
});
