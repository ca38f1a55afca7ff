import { describe, expect, test } from '@jest/globals';
import { parsePod } from '../../../src/cri/parse-pod.ts';
import type { IPodSandboxConfig } from '../../../src/generated/cri.js';
import { resources } from '../../fixtures/pod-configs.ts';
import { pod, podRequest, refusal, securePod } from './requests.ts';

const namespaces = (options: object) => securePod({ namespaceOptions: options }).namespaces;

describe('a pod request', () => {
  test('with nothing but metadata gets the defaults of the API', () => {
    expect(pod()).toEqual({
      metadata: { name: 'web', namespace: 'shop', uid: 'u-1', attempt: 0 },
      hostname: '',
      logDirectory: '',
      dns: undefined,
      portMappings: [],
      labels: {},
      annotations: {},
      runtimeHandler: '',
      cgroupParent: '',
      resources,
      overhead: resources,
      sysctls: {},
      namespaces: { network: 'pod', pid: 'pod', ipc: 'pod' },
      privileged: false,
    });
  });

  test('keeps labels, annotations, sysctls, names and directories as they are', () => {
    const config = {
      hostname: 'web-0',
      logDirectory: '/var/log/pods/x',
      labels: { a: 'b' },
      annotations: { 'x/y': ' z\n' },
      dnsConfig: { servers: ['10.0.0.1'], searches: ['svc'], options: ['ndots:5'] },
      linux: { cgroupParent: '/kubepods/pod1', sysctls: { 'net.core.somaxconn': '1' } },
    };
    const { linux, dnsConfig, ...rest } = config;
    expect(pod(config)).toMatchObject({ ...rest, ...linux, dns: dnsConfig });
  });

  test('is stored as JSON without a loss', () => {
    const parsed = pod({ portMappings: [{ hostPort: 80, containerPort: 8080 }], labels: { a: 'b' } });
    expect(JSON.parse(JSON.stringify(parsed))).toEqual({ ...parsed, dns: undefined });
  });

  test('opens only the ports that have a host port', () => {
    const portMappings = [
      { containerPort: 80 },
      { containerPort: 53, hostPort: 5353, protocol: 1, hostIp: '::1' } as const,
    ];
    expect(pod({ portMappings }).portMappings).toEqual([
      { protocol: 'udp', containerPort: 53, hostPort: 5353, hostIp: '::1' },
    ]);
  });

  test('chooses namespaces', () => {
    expect(namespaces({ network: 2, pid: 1, ipc: 2 })).toEqual({ network: 'node', pid: 'container', ipc: 'node' });
    expect(namespaces({ pid: 2 })).toEqual({ network: 'pod', pid: 'node', ipc: 'pod' });
  });

  test('may name the deprecated seccomp path, old values too', () => {
    for (const seccompProfilePath of ['', 'unconfined', 'runtime/default', 'docker/default', 'localhost//etc/x.json']) {
      expect(refusal(() => securePod({ seccompProfilePath }))).toBe('accepted');
    }
  });

  test('may carry SELinux options where there is no SELinux', () => {
    const selinuxOptions = { type: 'spc_t' };
    expect(refusal(() => securePod({ selinuxOptions }))).toBe('accepted');
    expect(refusal(() => securePod({ selinuxOptions }, { selinuxEnabled: true }))).toBe(
      'Unimplemented: config.linux.security_context.selinux_options: Cairn does not support this yet',
    );
  });

  test('may say that it has no user namespace', () => {
    expect(refusal(() => namespaces({ usernsOptions: { mode: 2 } }))).toBe('accepted');
  });

  test.each<[IPodSandboxConfig, string]>([
    [{ metadata: null }, 'config.metadata: is required'],
    [{ metadata: { name: '' } }, 'config.metadata.name: is required'],
    [{ windows: {} }, 'config.windows: this is a Linux host'],
    [{ hostname: 'a\0b' }, 'config.hostname: has a NUL character'],
    [{ hostname: 'a\n10.0.0.1\tregistry.example' }, 'config.hostname: has a line end'],
    [{ logDirectory: 'logs' }, 'config.log_directory: "logs" is not an absolute path'],
    [{ dnsConfig: { searches: ['a', 'b\nnameserver 6.6.6.6'] } }, 'config.dns_config.searches[1]: has a line end'],
    [{ portMappings: [{ hostPort: 70_000 }] }, 'config.port_mappings[0].host_port: 70000 is not between 0 and 65535'],
    [{ portMappings: [{ hostPort: 80 }] }, 'config.port_mappings[0].container_port: is required with a host port'],
    [{ portMappings: [{ hostIp: 'here' }] }, 'config.port_mappings[0].host_ip: "here" is no address'],
    [{ portMappings: [{ protocol: 9 as 0 }] }, 'config.port_mappings[0].protocol: 9 has no meaning here'],
    [{ linux: { cgroupParent: '/a/../../b' } }, 'config.linux.cgroup_parent: "/a/../../b" leads upwards'],
  ])('is refused when it is %j', (config, message) => {
    expect(refusal(() => pod(config))).toBe(`InvalidArgument: ${message}`);
  });

  test.each([
    [{ namespaceOptions: { network: 1 } }, 'InvalidArgument: FIELD.namespace_options.network: must be POD or NODE'],
    [{ namespaceOptions: { ipc: 3 } }, 'InvalidArgument: FIELD.namespace_options.ipc: must be POD or NODE'],
    [{ namespaceOptions: { pid: 3 } }, 'InvalidArgument: FIELD.namespace_options.pid: TARGET is for containers'],
    [{ namespaceOptions: { pid: 8 } }, 'InvalidArgument: FIELD.namespace_options.pid: 8 has no meaning here'],
    [
      { namespaceOptions: { usernsOptions: { mode: 0, uids: [{ length: 65536 }] } } },
      'InvalidArgument: FIELD.namespace_options.userns_options.gids: needs exactly one mapping, not 0',
    ],
    [
      { namespaceOptions: { usernsOptions: { mode: 2, uids: [{ length: 1 }] } } },
      'InvalidArgument: FIELD.namespace_options.userns_options: NODE has no ID mappings',
    ],
    [{ runAsGroup: { value: 1 } }, 'InvalidArgument: FIELD.run_as_group: needs run_as_user'],
    [{ runAsUser: { value: -1 } }, 'InvalidArgument: FIELD.run_as_user: -1 is not between 0 and 4294967294'],
    [{ seccomp: { profileType: 2 } }, 'InvalidArgument: FIELD.seccomp.localhost_ref: is required with Localhost'],
    [
      { seccompProfilePath: 'whatever' },
      'InvalidArgument: FIELD.seccomp_profile_path: "whatever" is not runtime/default, unconfined or localhost/NAME',
    ],
  ])('is refused when its security is %j', (security, message) => {
    const expected = message.replace('FIELD', 'config.linux.security_context');
    expect(refusal(() => securePod(security as never))).toBe(expected);
  });

  test('without a configuration is refused', () => {
    expect(refusal(() => parsePod(null, '', { selinuxEnabled: false }))).toBe('InvalidArgument: config: is required');
    expect(podRequest().metadata?.name).toBe('web');
  });
});
