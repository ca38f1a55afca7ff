import { describe, expect, test } from '@jest/globals';
import { formatResult, parseResult, podAddresses } from '../../../src/network/result.ts';

const interfaces = [
  { name: 'br0', mac: '02:00:00:00:00:01' },
  { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/p' },
];

describe('a plugin result', () => {
  test.each([
    [
      '0.2.0',
      {
        cniVersion: '0.2.0',
        ip4: { ip: '10.1.0.5/16', gateway: '10.1.0.1', routes: [{ dst: '0.0.0.0/0' }] },
        ip6: { ip: 'fd00::5/64' },
        dns: { nameservers: ['10.1.0.1'], search: ['a.b'] },
      },
    ],
    [
      '0.4.0',
      {
        cniVersion: '0.4.0',
        interfaces,
        ips: [
          { version: '4', address: '10.1.0.5/16', gateway: '10.1.0.1', interface: 1 },
          { version: '6', address: 'fd00::5/64', interface: 1 },
        ],
      },
    ],
    [
      '1.0.0',
      {
        cniVersion: '1.0.0',
        interfaces,
        ips: [
          { address: '10.1.0.5/16', gateway: '10.1.0.1', interface: 1 },
          { address: 'fd00::5/64', interface: 1 },
        ],
      },
    ],
  ])('of version %s gives the same addresses', (_, raw) => {
    const result = parseResult(raw);
    expect(podAddresses(result)).toEqual(['10.1.0.5', 'fd00::5']);
    expect(result.addresses[0]?.gateway).toBe('10.1.0.1');
  });

  test('without a version is read as one of 0.2.0', () => {
    expect(podAddresses(parseResult({ ip4: { ip: '10.1.0.5/16' } }))).toEqual(['10.1.0.5']);
  });

  test('is turned into the form of an older and a newer version, with what only that one has', () => {
    const result = parseResult({
      cniVersion: '1.1.0',
      interfaces: [{ name: 'eth0', sandbox: '/n', mtu: 1400 }],
      ips: [{ address: 'fd00::5/64', interface: 0 }],
      routes: [{ dst: '::/0', table: 7 }],
      dns: { domain: 'x' },
    });
    expect(formatResult(result, '0.4.0')).toEqual({
      cniVersion: '0.4.0',
      interfaces: [{ name: 'eth0', sandbox: '/n', mtu: 1400 }],
      ips: [{ version: '6', address: 'fd00::5/64', interface: 0 }],
      routes: [{ dst: '::/0', table: 7 }],
      dns: { domain: 'x' },
    });
    expect(formatResult(result, '1.0.0')['ips']).toEqual([{ address: 'fd00::5/64', interface: 0 }]);
  });

  test.each([
    ['is a list', []],
    ['has an address that is none', { cniVersion: '1.0.0', ips: [{ address: '10.1.0.300/16' }] }],
    ['has an address without prefix length', { cniVersion: '1.0.0', ips: [{ address: '10.1.0.3' }] }],
    ['has a version that is none', { cniVersion: 'new' }],
  ])('that %s is refused', (_, raw) => {
    expect(() => parseResult(raw)).toThrow();
  });
});

describe('the addresses of a pod', () => {
  test('are those of its own interfaces, primary first, then the first of the other family', () => {
    const ips = [
      { address: '192.168.0.1/24', interface: 0 },
      { address: 'fd00::5/64', interface: 1 },
      { address: 'fd00::6/64', interface: 1 },
      { address: '10.1.0.5/16', interface: 1 },
      { address: '10.1.0.6/16' },
    ];
    const result = parseResult({ cniVersion: '1.0.0', interfaces, ips });
    expect(podAddresses(result)).toEqual(['fd00::5', '10.1.0.5', 'fd00::6', '10.1.0.6']);
  });
});
