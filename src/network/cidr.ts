/** IP subnets: parsing, and whether two of them share an address. */
import { isIPv4, isIPv6 } from 'node:net';
import { CairnError } from '../base/errors.ts';

export interface Subnet {
  readonly family: 4 | 6;
  /** The network address as a number; the host bits are zero. */
  readonly network: bigint;
  readonly prefixLength: number;
}

/** The subnet in `unsafe` (`10.89.0.0/16`), host bits cleared; undefined when it is none. */
export function tryParseSubnet(unsafe: string): Subnet | undefined {
  const [address = '', prefix = '', ...rest] = unsafe.split('/');
  const number = addressToNumber(address);
  if (number === undefined || rest.length > 0 || !/^\d{1,3}$/.test(prefix)) return undefined;
  const family = isIPv4(address) ? 4 : 6;
  const prefixLength = Number(prefix);
  if (prefixLength > bits(family)) return undefined;
  return { family, network: number & mask(family, prefixLength), prefixLength };
}

/** As `tryParseSubnet`, but throws `InvalidArgument` naming `field`. */
export function parseSubnet(unsafe: string, family: 4 | 6, field: string): Subnet {
  const subnet = tryParseSubnet(unsafe);
  if (subnet?.family !== family) {
    throw new CairnError('InvalidArgument', `${field}: ${JSON.stringify(unsafe)} is not an IPv${family} subnet`);
  }
  return subnet;
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  if (a.family !== b.family) return false;
  const common = mask(a.family, Math.min(a.prefixLength, b.prefixLength));
  return (a.network & common) === (b.network & common);
}

export function contains(subnet: Subnet, address: string): boolean {
  const number = addressToNumber(address);
  if (number === undefined || isIPv4(address) !== (subnet.family === 4)) return false;
  return (number & mask(subnet.family, subnet.prefixLength)) === subnet.network;
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatAddress(subnet.family, subnet.network)}/${subnet.prefixLength}`;
}

/** The address `offset` places into the subnet. */
export function addressIn(subnet: Subnet, offset: bigint): string {
  return formatAddress(subnet.family, subnet.network + offset);
}

function bits(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}

function mask(family: 4 | 6, prefixLength: number): bigint {
  const hostBits = BigInt(bits(family) - prefixLength);
  return ((1n << BigInt(prefixLength)) - 1n) << hostBits;
}

function addressToNumber(address: string): bigint | undefined {
  if (isIPv4(address)) return address.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
  if (!isIPv6(address) || address.includes('%')) return undefined;
  return groupsOf(address).reduce((sum, group) => (sum << 16n) | BigInt(group), 0n);
}

/** The eight groups of a valid IPv6 address, `::` and a dotted tail written out. */
function groupsOf(address: string): number[] {
  const [head = '', tail] = address.split('::');
  const before = parseGroups(head);
  if (tail === undefined) return before;
  const after = parseGroups(tail);
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
}

function parseGroups(text: string): number[] {
  if (text === '') return [];
  return text.split(':').flatMap((group) => {
    if (!group.includes('.')) return [Number.parseInt(group, 16)];
    const [a = 0, b = 0, c = 0, d = 0] = group.split('.').map(Number);
    return [a * 256 + b, c * 256 + d];
  });
}

function formatAddress(family: 4 | 6, number: bigint): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (number >> shift) & 255n).join('.');
  const groups = Array.from({ length: 8 }, (_, index) => ((number >> BigInt(112 - 16 * index)) & 0xffffn).toString(16));
  // RFC 5952: the longest run of zeros, at least two groups, becomes "::".
  const runs = [...groups.join(':').matchAll(/(?:^|(?<=:))0(?::0)+(?=:|$)/g)];
  const longest = runs.reduce((best, run) => (run[0].length > best.length ? run[0] : best), '');
  if (longest === '') return groups.join(':');
  const text = groups.join(':');
  const at = text.search(new RegExp(`(?:^|(?<=:))${longest}(?=:|$)`));
  return `${text.slice(0, at).replace(/:$/, '')}::${text.slice(at + longest.length).replace(/^:/, '')}`;
}
