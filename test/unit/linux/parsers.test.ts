import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { layoutOf, parseControllers } from '../../../src/linux/cgroup-layout.ts';
import {
  cgroupPaths,
  deviceNumbers,
  errnoName,
  makedev,
  parseMountInfo,
  parseProcessCgroups,
  parseStat,
  parseSysctl,
  SystemError,
} from '../../../src/linux/index.ts';

describe('the mount table', () => {
  test('is read with optional fields, escapes and options', () => {
    const [plain, shared] = parseMountInfo(
      [
        '36 35 98:0 /mnt1 /mnt/with\\040space\\134x rw,noatime - ext3 /dev/root rw,errors=continue',
        '37 36 0:5 / /p\\303\\244th ro shared:1 master:2 - overlay over\\011lay rw,lowerdir=/a:/b\\054c',
        'garbage',
        '',
      ].join('\n'),
    );
    expect(plain).toEqual({
      id: 36,
      parentId: 35,
      root: '/mnt1',
      target: '/mnt/with space\\x',
      options: ['rw', 'noatime'],
      propagation: [],
      type: 'ext3',
      source: '/dev/root',
      superOptions: ['rw', 'errors=continue'],
    });
    expect(shared).toMatchObject({
      target: '/päth',
      propagation: ['shared:1', 'master:2'],
      source: 'over\tlay',
    });
    expect(parseMountInfo('garbage\n\n')).toEqual([]);
  });
});

describe('/proc/PID/stat', () => {
  test('is read from its end, for a name may hold anything', () => {
    const rest = `S 17 ${Array.from({ length: 17 }, (_, index) => index).join(' ')} 987654321 5 6`;
    expect(parseStat(`42 (a) S (b c) ${rest}`)).toEqual({
      name: 'a) S (b c',
      state: 'S',
      parentPid: 17,
      startTime: 987654321n,
    });
  });
});

describe('cgroup layouts', () => {
  const mount = (type: string, target: string, options: string, root = '/') =>
    parseMountInfo(`1 2 0:1 ${root} ${target} rw - ${type} x rw,${options}`);
  const known = parseControllers('#subsys_name\thierarchy\ncpu\t1\t2\t1\ncpuacct\t1\t2\t1\nmemory\t2\t2\t1\n');

  test('v1, hybrid and v2 are told apart', () => {
    const v1 = [...mount('cgroup', '/c/cpu,cpuacct', 'cpu,cpuacct'), ...mount('cgroup', '/c/s', 'xattr,name=systemd')];
    const unified = mount('cgroup2', '/c/unified', 'nsdelegate');
    expect(layoutOf(v1, known)).toEqual({
      mode: 'v1',
      hierarchies: new Map([
        ['cpu', '/c/cpu,cpuacct'],
        ['cpuacct', '/c/cpu,cpuacct'],
        ['systemd', '/c/s'],
      ]),
    });
    expect(layoutOf([...v1, ...unified], known).mode).toBe('hybrid');
    expect(layoutOf(unified, known)).toEqual({ mode: 'v2', hierarchies: new Map([['unified', '/c/unified']]) });
  });

  test('the first mount of a hierarchy counts, and only a mount of its root', () => {
    const mounts = [
      ...mount('cgroup', '/inner', 'memory', '/kubepods'),
      ...mount('cgroup', '/first', 'memory'),
      ...mount('cgroup', '/second', 'memory'),
    ];
    expect(layoutOf(mounts, known).hierarchies).toEqual(new Map([['memory', '/first']]));
  });

  test('none at all is FailedPrecondition with the remedy', () => {
    expect(() => layoutOf([], known)).toThrow(/mount cgroup2/);
  });

  test("a process's cgroups have the same keys", () => {
    const text = '4:memory:/a:b\n3:cpu,cpuacct:/c\n1:name=systemd:/d\n0::/e\n';
    expect(Object.fromEntries(parseProcessCgroups(text))).toEqual({
      memory: '/a:b',
      cpu: '/c',
      cpuacct: '/c',
      systemd: '/d',
      unified: '/e',
    });
  });

  test('a path can not leave the hierarchy', async () => {
    await expect(cgroupPaths('../x')).rejects.toMatchObject({ kind: 'InvalidArgument' });
  });
});

describe('sysctl names', () => {
  test.each([
    ['net.ipv4.ip_forward', 'net/ipv4/ip_forward', 'net.ipv4.ip_forward', 'network'],
    ['net/ipv4/ip_forward', 'net/ipv4/ip_forward', 'net.ipv4.ip_forward', 'network'],
    ['net/ipv4/conf/eth0.1/rp_filter', 'net/ipv4/conf/eth0.1/rp_filter', 'net.ipv4.conf.eth0/1.rp_filter', 'network'],
    ['net.ipv4.conf.eth0/1.rp_filter', 'net/ipv4/conf/eth0.1/rp_filter', 'net.ipv4.conf.eth0/1.rp_filter', 'network'],
    ['kernel.shm_rmid_forced', 'kernel/shm_rmid_forced', 'kernel.shm_rmid_forced', 'ipc'],
    ['fs.mqueue.msg_max', 'fs/mqueue/msg_max', 'fs.mqueue.msg_max', 'ipc'],
    ['kernel.domainname', 'kernel/domainname', 'kernel.domainname', 'uts'],
    ['kernel.hostname', 'kernel/hostname', 'kernel.hostname', undefined],
    ['vm.swappiness', 'vm/swappiness', 'vm.swappiness', undefined],
    ['kernel.shmfoo', 'kernel/shmfoo', 'kernel.shmfoo', undefined],
  ])('%s', (name, path, canonical, namespace) => {
    expect(parseSysctl(name)).toEqual({ name: canonical, path, namespace });
  });

  test('never name a file outside of /proc/sys', () => {
    const odd = fc.string({ unit: fc.constantFrom('.', '/', '..', 'net', 'a', '\0', ' '), maxLength: 8 });
    fc.assert(
      fc.property(odd, (name) => {
        let path: string;
        try {
          path = parseSysctl(name).path;
        } catch (error) {
          expect(error).toMatchObject({ kind: 'InvalidArgument' });
          return;
        }
        for (const part of path.split('/')) expect(part).toMatch(/^(?!\.{1,2}$)[\w.]+$/);
      }),
    );
  });
});

describe('numbers', () => {
  test('device numbers come back, as glibc packs them', () => {
    expect(makedev(8, 1)).toBe(0x801n);
    expect(makedev(259, 70000)).toBe(0x0000_0000_1111_0370n);
    const number = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(number, number, (major, minor) => {
        expect(deviceNumbers(makedev(major, minor))).toEqual({ major, minor });
      }),
    );
  });

  test('an errno has its usual name', () => {
    expect([2, 11, 17, 35, 61, 95].map(errnoName)).toEqual([
      'ENOENT',
      'EAGAIN',
      'EEXIST',
      'EDEADLK',
      'ENODATA',
      'EOPNOTSUPP',
    ]);
    expect(errnoName(4000)).toBe('errno 4000');
    expect(new SystemError(2, 'mount', '/x', 'detail')).toMatchObject({
      code: 'ENOENT',
      errno: 2,
      message: "ENOENT: mount '/x': detail",
    });
  });
});
