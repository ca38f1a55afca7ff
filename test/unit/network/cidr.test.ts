import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { addressIn, contains, formatSubnet, overlaps, tryParseSubnet } from '../../../src/network/cidr.ts';
import { collidingRoute, defaultRouteDevice, parseRoutes4, parseRoutes6 } from '../../../src/network/host-routes.ts';

const subnet = (text: string) => {
  const parsed = tryParseSubnet(text);
  if (!parsed) throw new Error(`${text} is no subnet`);
  return parsed;
};

describe('a subnet', () => {
  test.each([
    ['10.89.3.4/16', '10.89.0.0/16', '10.89.0.1'],
    ['0.0.0.0/0', '0.0.0.0/0', '0.0.0.1'],
    ['fd00:0:0:1::5/64', 'fd00:0:0:1::/64', 'fd00:0:0:1::1'],
    ['fd00::1:0:0:5/128', 'fd00::1:0:0:5/128', 'fd00::1:0:0:6'],
    ['::ffff:10.0.0.1/128', '::ffff:a00:1/128', '::ffff:a00:2'],
    ['::/0', '::/0', '::1'],
    ['1:0:0:2:0:0:0:3/128', '1:0:0:2::3/128', '1:0:0:2::4'],
  ])('%s is %s, and its first address %s', (text, formatted, first) => {
    expect(formatSubnet(subnet(text))).toBe(formatted);
    expect(addressIn(subnet(text), 1n)).toBe(first);
  });

  test.each([['10.0.0.0'], ['10.0.0.0/33'], ['10.0.0/8'], ['10.0.0.0/8/8'], ['fd00::/129'], ['fe80::1%eth0/64'], ['']])(
    '%j is none',
    (text) => {
      expect(tryParseSubnet(text)).toBeUndefined();
    },
  );

  test('overlaps another exactly when one contains the other', () => {
    expect(overlaps(subnet('10.0.0.0/8'), subnet('10.89.0.0/16'))).toBe(true);
    expect(overlaps(subnet('10.89.0.0/16'), subnet('10.0.0.0/8'))).toBe(true);
    expect(overlaps(subnet('10.88.0.0/16'), subnet('10.89.0.0/16'))).toBe(false);
    expect(overlaps(subnet('0.0.0.0/0'), subnet('::/0'))).toBe(false);
  });

  test('contains its addresses, whatever form they are written in', () => {
    fc.assert(
      fc.property(fc.ipV6(), fc.integer({ min: 0, max: 128 }), (address, length) => {
        const around = subnet(`${address}/${length}`);
        return contains(around, address) && contains(subnet(formatSubnet(around)), address);
      }),
    );
  });
});

describe("the host's routes", () => {
  const table4 = [
    'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
    'eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0',
    'eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
    'cni0\t0000590A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0',
  ].join('\n');

  test('of IPv4 are read from the kernel, byte order and all', () => {
    expect(parseRoutes4(table4).map(({ destination, device }) => [formatSubnet(destination), device])).toEqual([
      ['0.0.0.0/0', 'eth0'],
      ['192.0.2.0/24', 'eth0'],
      ['10.89.0.0/16', 'cni0'],
    ]);
  });

  test('of IPv6 leave out what is local, multicast, link-local or unreachable', () => {
    const zero = '0'.repeat(32);
    const row = (destination: string, prefix: string, flags: string, device: string) =>
      `${destination} ${prefix} ${zero} 00 ${zero} 00000100 00000001 00000000 ${flags}     ${device}`;
    const table = [
      row('fd000000000000000000000000000000', '40', '00000001', 'eth0'),
      row('fe800000000000000000000000000000', '40', '00000001', 'eth0'),
      row(zero, '00', '00000003', 'eth0'),
      row('fd000000000000000000000000000002', '80', '80200001', 'eth0'),
      row('ff000000000000000000000000000000', '08', '00000001', 'eth0'),
      row(zero, '00', '00200200', 'lo'),
    ].join('\n');
    expect(parseRoutes6(table).map(({ destination }) => formatSubnet(destination))).toEqual(['fd00::/64', '::/0']);
  });

  test('collide with a subnet unless they are a default route or our own', () => {
    const routes = parseRoutes4(table4);
    expect(defaultRouteDevice(routes)).toBe('eth0');
    expect(collidingRoute(routes, subnet('10.89.7.0/24'), 'cairn0')?.device).toBe('cni0');
    expect(collidingRoute(routes, subnet('10.89.7.0/24'), 'cni0')).toBeUndefined();
    expect(collidingRoute(routes, subnet('10.90.0.0/16'), 'cairn0')).toBeUndefined();
  });
});
