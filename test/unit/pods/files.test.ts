import { describe, expect, test } from '@jest/globals';
import { cgroupsPath } from '../../../src/pods/cgroup.ts';
import { hostsFile, podHostname, resolvConf } from '../../../src/pods/files.ts';
import { initSpec } from '../../../src/pods/init-spec.ts';
import { ownNamespaces, pinPathsOf } from '../../../src/pods/namespaces.ts';
import { podSysctls } from '../../../src/pods/sysctls.ts';
import { podConfig } from '../../fixtures/pod-configs.ts';

const own = { network: 'pod', pid: 'container', ipc: 'pod' } as const;
const pins = pinPathsOf('/run/netns', '/state/sandboxes/x', 'x');

describe('the files of a pod', () => {
  test('resolv.conf says what the DNS configuration says', () => {
    const dns = { servers: ['10.0.0.10', 'fd00::a'], searches: ['a.local', 'b.local'], options: ['ndots:5', 'rotate'] };
    expect(resolvConf(dns)).toBe(
      'search a.local b.local\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5 rotate\n',
    );
    expect(resolvConf({ servers: ['1.1.1.1'], searches: [], options: [] })).toBe('nameserver 1.1.1.1\n');
  });

  test.each([[undefined], [{ servers: [], searches: [], options: [] }]])("%j means the host's", (dns) => {
    expect(resolvConf(dns)).toBeUndefined();
  });

  test('hosts names localhost and the pod, at each of its addresses', () => {
    const text = hostsFile('web-0', ['10.1.2.3', 'fd00::3']);
    expect(text).toContain('127.0.0.1\tlocalhost\n');
    expect(text).toContain('10.1.2.3\tweb-0\n');
    expect(text).toContain('fd00::3\tweb-0\n');
    expect(text.endsWith('\n')).toBe(true);
  });

  test("the host name is the one asked for, else the pod's, else on the host's network the host's", () => {
    const named = podConfig({ hostname: 'asked', namespaces: own });
    const unnamed = podConfig({ namespaces: own });
    expect(podHostname(named, 'node')).toBe('asked');
    expect(podHostname(unnamed, 'node')).toBe(unnamed.metadata.name);
    expect(podHostname(podConfig(), 'node')).toBe('node');
  });

  test('a name that is too long for a host name is cut, and ends in no dot or hyphen', () => {
    const metadata = { ...podConfig().metadata, name: `${'n'.repeat(62)}-.${'m'.repeat(20)}` };
    expect(podHostname(podConfig({ metadata, namespaces: own }), 'node')).toBe('n'.repeat(62));
  });
});

describe('the namespaces of a pod', () => {
  test('network and host name go together', () => {
    expect(ownNamespaces(podConfig({ namespaces: own }), pins)).toEqual({
      network: '/run/netns/cairn-x',
      uts: '/state/sandboxes/x/ns/uts',
      ipc: '/state/sandboxes/x/ns/ipc',
      pid: undefined,
    });
    const onHost = podConfig({ namespaces: { network: 'node', pid: 'pod', ipc: 'node' } });
    expect(ownNamespaces(onHost, pins)).toEqual({
      network: undefined,
      uts: undefined,
      ipc: undefined,
      pid: '/state/sandboxes/x/ns/pid',
    });
  });

  test('an own network lets every user ping and listen on low ports, unless the caller says otherwise', () => {
    const sysctls = { 'net/ipv4/ip_unprivileged_port_start': '1024', 'kernel.shmmax': '1' };
    expect(podSysctls(podConfig({ namespaces: own, sysctls }))).toEqual({
      'net.ipv4.ip_unprivileged_port_start': '1024',
      'net.ipv4.ping_group_range': '0 2147483647',
      'kernel.shmmax': '1',
    });
    expect(podSysctls(podConfig())).toEqual({});
  });
});

describe('cgroup paths', () => {
  test('are a directory for cgroupfs and a scope in a slice for systemd', () => {
    expect(cgroupsPath('cgroupfs', '/kubepods/pod1', 'id')).toBe('/kubepods/pod1/id');
    expect(cgroupsPath('cgroupfs', 'kubepods', 'id')).toBe('/kubepods/id');
    expect(cgroupsPath('systemd', '/kubepods.slice/kubepods-pod1.slice', 'id')).toBe('kubepods-pod1.slice:cairn:id');
  });
});

describe('the init process of a pod', () => {
  test('joins the namespaces of the pod, has a PID namespace of its own and no capability', () => {
    const spec = initSpec({
      namespaces: ownNamespaces(podConfig({ namespaces: { ...own, pid: 'pod' } }), pins),
      rootPath: '/root',
      args: ['/catatonit', '-P'],
      program: { hostPath: '/usr/bin/catatonit', containerPath: '/catatonit' },
      userNamespace: undefined,
      cgroupsPath: '/cairn/x',
      oomScoreAdj: 0,
    });
    expect(spec).toMatchObject({
      process: { args: ['/catatonit', '-P'], capabilities: { bounding: [] }, noNewPrivileges: true },
      root: { readonly: true },
      linux: {
        namespaces: [
          { type: 'pid' },
          { type: 'mount' },
          { type: 'network', path: pins.network },
          { type: 'ipc', path: pins.ipc },
          { type: 'uts', path: pins.uts },
        ],
      },
    });
  });
});
