import { describe, expect, test } from '@jest/globals';
import type { AttachRequest } from '../../../src/network/index.ts';
import { runtimeConfigFor } from '../../../src/network/runtime-config.ts';
import { plainRequest } from '../../fixtures/network-host.ts';

const configFor = (capabilities: string[], more: Partial<AttachRequest>) =>
  runtimeConfigFor({ type: 'x', capabilities, settings: { type: 'x' } }, plainRequest('a', '/n', more));

const everything: Partial<AttachRequest> = {
  portMappings: [
    { protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '127.0.0.1' },
    { protocol: 'udp', containerPort: 53, hostPort: 5353, hostIp: '' },
    { protocol: 'tcp', containerPort: 81, hostPort: 0, hostIp: '' },
  ],
  annotations: { 'kubernetes.io/ingress-bandwidth': '10M', 'kubernetes.io/egress-bandwidth': '1Mi' },
  dns: { servers: ['10.0.0.10'], searches: ['svc'], options: ['ndots:5'] },
  cgroupParent: '/kubepods/pod1',
  ips: ['10.1.0.9/16'],
  mac: '02:00:00:00:00:09',
};

describe('the runtime configuration', () => {
  test('has everything that a plugin asks for', () => {
    const all = ['portMappings', 'bandwidth', 'dns', 'ips', 'mac', 'cgroupPath', 'io.kubernetes.cri.pod-annotations'];
    expect(configFor(all, everything)).toEqual({
      portMappings: [
        { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' },
        { hostPort: 5353, containerPort: 53, protocol: 'udp' },
      ],
      bandwidth: { ingressRate: 1e7, ingressBurst: 4294967295, egressRate: 1048576, egressBurst: 4294967295 },
      dns: { servers: ['10.0.0.10'], searches: ['svc'], options: ['ndots:5'] },
      ips: ['10.1.0.9/16'],
      mac: '02:00:00:00:00:09',
      cgroupPath: '/kubepods/pod1',
      'io.kubernetes.cri.pod-annotations': everything.annotations,
    });
  });

  test('has nothing that a plugin does not ask for, and none when there is nothing to say', () => {
    expect(configFor([], everything)).toBeUndefined();
    expect(configFor(['mac', 'unheardOf'], everything)).toEqual({ mac: '02:00:00:00:00:09' });
    expect(configFor(['portMappings', 'bandwidth', 'dns', 'cgroupPath'], {})).toBeUndefined();
  });

  test('limits one direction when only that one is asked for', () => {
    const annotations = { 'kubernetes.io/egress-bandwidth': '1k' };
    expect(configFor(['bandwidth'], { annotations })).toEqual({
      bandwidth: { egressRate: 1000, egressBurst: 4294967295 },
    });
  });

  test.each([
    ['1000', 1000],
    ['1.5M', 1_500_000],
    ['1e6', 1_000_000],
    ['2Gi', 2_147_483_648],
    ['1000000m', 1000],
    ['1P', 1e15],
  ])('reads the rate %s', (text, rate) => {
    const annotations = { 'kubernetes.io/ingress-bandwidth': text };
    expect(configFor(['bandwidth'], { annotations })).toMatchObject({ bandwidth: { ingressRate: rate } });
  });

  test.each([[''], ['fast'], ['-1M'], ['999'], ['2P'], ['1 M'], ['1MB'], ['0x10'], ['1e6k']])(
    'refuses the rate %j',
    (text) => {
      const annotations = { 'kubernetes.io/ingress-bandwidth': text };
      expect(() => configFor(['bandwidth'], { annotations })).toThrow(/kubernetes\.io\/ingress-bandwidth/);
    },
  );
});
