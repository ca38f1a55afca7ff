/** The host's routes, read from /proc (no process, no netlink): what the embedded network must not collide with. */
import { readFile } from 'node:fs/promises';
import { CairnError, errnoOf } from '../base/errors.ts';
import { overlaps, type Subnet } from './cidr.ts';

export interface HostRoute {
  readonly destination: Subnet;
  readonly device: string;
}

/** Linux route flags: RTF_REJECT (unreachable, /proc/net/ipv6_route lists a default of that kind) and RTF_LOCAL. */
const RTF_REJECT = 0x0200;
const RTF_LOCAL = 0x80000000;

export async function readHostRoutes(): Promise<HostRoute[]> {
  const [v4, v6] = await Promise.all([readTable('/proc/net/route'), readTable('/proc/net/ipv6_route')]);
  return [...parseRoutes4(v4), ...parseRoutes6(v6)];
}

/** The default routes' devices, best metric first as the kernel lists them. */
export function defaultRouteDevice(routes: readonly HostRoute[]): string | undefined {
  return routes.find(({ destination }) => destination.prefixLength === 0)?.device;
}

/**
 * The first route that shares addresses with `subnet` and leaves by another device than `ownDevice`. Default routes
 * share addresses with everything and don't count.
 */
export function collidingRoute(routes: readonly HostRoute[], subnet: Subnet, ownDevice: string): HostRoute | undefined {
  return routes.find(
    ({ destination, device }) => destination.prefixLength > 0 && device !== ownDevice && overlaps(destination, subnet),
  );
}

/** /proc/net/route: device, destination and (column 7) mask as little-endian hex. */
export function parseRoutes4(table: string): HostRoute[] {
  return rows(table.slice(table.indexOf('\n') + 1)).flatMap((columns) => {
    const [device = '', destination = ''] = columns;
    const mask = littleEndian(columns[7] ?? '');
    const network = littleEndian(destination);
    if (network === undefined || mask === undefined) return [];
    return [{ device, destination: { family: 4 as const, network, prefixLength: ones(mask) } }];
  });
}

/** /proc/net/ipv6_route: destination, prefix length (hex), ..., flags (column 8), device. Multicast and local are left out. */
export function parseRoutes6(table: string): HostRoute[] {
  return rows(table).flatMap((columns) => {
    const [destination = '', prefix = ''] = columns;
    const flags = Number.parseInt(columns[8] ?? '', 16);
    const device = columns[9] ?? '';
    if (destination.length !== 32 || (flags & RTF_REJECT) !== 0 || (flags & RTF_LOCAL) !== 0) return [];
    if (destination.startsWith('ff') || destination.startsWith('fe80')) return [];
    const network = BigInt(`0x${destination}`);
    return [{ device, destination: { family: 6 as const, network, prefixLength: Number.parseInt(prefix, 16) } }];
  });
}

function rows(table: string): string[][] {
  return table
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => line.trim().split(/\s+/));
}

function littleEndian(hex: string): bigint | undefined {
  const bytes = /^([0-9A-Fa-f]{2})([0-9A-Fa-f]{2})([0-9A-Fa-f]{2})([0-9A-Fa-f]{2})$/.exec(hex);
  return bytes ? BigInt(`0x${bytes.slice(1).reverse().join('')}`) : undefined;
}

function ones(mask: bigint): number {
  return mask.toString(2).replaceAll('0', '').length;
}

async function readTable(path: string): Promise<string> {
  try {
    return await readFile(path, 'latin1');
  } catch (error) {
    // A kernel without IPv6 has no such table.
    if (errnoOf(error) === 'ENOENT') return '';
    throw new CairnError('FailedPrecondition', `cannot read the host's routes: ${path}`, { cause: error });
  }
}
