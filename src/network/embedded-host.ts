/** What the embedded network finds and needs on the host: free addresses, a bridge of its own, forwarding. */
import { access, readdir, readFile, writeFile } from 'node:fs/promises';
import { CairnError, errnoOf, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { formatSubnet, overlaps, type Subnet } from './cidr.ts';
import { runCommand } from './command.ts';
import { collidingRoute, type HostRoute } from './host-routes.ts';

/** The kernel keeps at most this much of a device's alias (IFALIASZ). */
const ALIAS_LENGTH_MAX = 255;

export type BridgeState = 'absent' | 'ours' | 'unclaimed';

/** Throws FailedPrecondition naming the route when a subnet is in use elsewhere on the host. */
export function refuseCollision(routes: readonly HostRoute[], subnets: readonly Subnet[], bridge: string): void {
  for (const subnet of subnets) {
    const route = collidingRoute(routes, subnet, bridge);
    if (!route) continue;
    throw unusable(
      `its subnet ${formatSubnet(subnet)} collides with the host's route ${formatSubnet(route.destination)} ` +
        `by ${route.device}: choose another one in [network] subnet or subnet6`,
    );
  }
}

/** Is there such a bridge, and whose? Throws FailedPrecondition when it belongs to something else. */
export async function inspectBridge(bridge: string, owner: string): Promise<BridgeState> {
  const device = `/sys/class/net/${bridge}`;
  if (!(await exists(device))) return 'absent';
  if (!(await exists(`${device}/bridge`))) {
    throw unusable(`the host's network device ${bridge} is no bridge: choose another name in [network] bridge`);
  }
  const alias = (await readFile(`${device}/ifalias`, 'utf8')).trim();
  if (alias === '') return 'unclaimed';
  if (alias === aliasFor(owner)) return 'ours';
  throw unusable(`bridge ${bridge} belongs to "${alias}": choose another name in [network] bridge`);
}

/** The bridge's route to a subnet that is not ours: from before the configuration changed, or somebody else's. */
export function foreignRoute(
  routes: readonly HostRoute[],
  subnets: readonly Subnet[],
  bridge: string,
): HostRoute | undefined {
  return routes.find(
    ({ device, destination }) => device === bridge && !subnets.some((subnet) => overlaps(subnet, destination)),
  );
}

export function hasRoute(routes: readonly HostRoute[], subnets: readonly Subnet[], bridge: string): boolean {
  return routes.some(
    ({ device, destination }) => device === bridge && subnets.some((subnet) => overlaps(subnet, destination)),
  );
}

/** A bridge without our mark and address, but with devices on it, is somebody's: pods don't belong there. */
export async function refuseBridgeInUse(bridge: string): Promise<void> {
  const ports = await readdir(`/sys/class/net/${bridge}/brif`);
  if (ports.length === 0) return;
  throw unusable(`bridge ${bridge} is in use (${ports.join(', ')}): choose another name in [network] bridge`);
}

/** Marks the bridge, so that another instance (or a person) sees whose it is. */
export async function claimBridge(bridge: string, owner: string): Promise<void> {
  await writeFile(`/sys/class/net/${bridge}/ifalias`, `${aliasFor(owner)}\n`);
}

export async function deleteBridge(bridge: string): Promise<void> {
  await runCommand('ip', ['link', 'delete', 'dev', bridge, 'type', 'bridge']);
}

/** Turns forwarding on for the families in use, and leaves the rest of the host as it was. */
export async function ensureForwarding(subnets: readonly Subnet[], log: Logger): Promise<void> {
  for (const { family } of subnets) {
    const key = family === 4 ? 'net/ipv4/ip_forward' : 'net/ipv6/conf/all/forwarding';
    if ((await readSysctl(key)) !== '0') continue;
    // A forwarding IPv6 host ignores router advertisements unless accept_ra is 2: it would lose its own default route.
    if (family === 6) await keepRouterAdvertisements();
    await writeSysctl(key, '1');
    log.info({ sysctl: key.replaceAll('/', '.') }, 'forwarding was off; turned on for the embedded network');
  }
}

async function keepRouterAdvertisements(): Promise<void> {
  for (const device of await readdir('/proc/sys/net/ipv6/conf')) {
    if (device === 'all' || device === 'default' || device === 'lo') continue;
    const key = `net/ipv6/conf/${device}/accept_ra`;
    if ((await readSysctl(key)) === '1') await writeSysctl(key, '2');
  }
}

async function readSysctl(key: string): Promise<string> {
  try {
    return (await readFile(`/proc/sys/${key}`, 'utf8')).trim();
  } catch (error) {
    throw sysctlError(key, 'read', error);
  }
}

async function writeSysctl(key: string, value: string): Promise<void> {
  try {
    await writeFile(`/proc/sys/${key}`, value);
  } catch (error) {
    throw sysctlError(key, 'set', error);
  }
}

function sysctlError(key: string, verb: string, error: unknown): CairnError {
  return unusable(`can't ${verb} ${key.replaceAll('/', '.')}: ${messageOf(error)}`, error);
}

/** The MTU of a device; undefined when it is gone. */
export async function readMtu(device: string): Promise<number | undefined> {
  try {
    return Number(await readFile(`/sys/class/net/${device}/mtu`, 'utf8'));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function aliasFor(owner: string): string {
  return `cairn ${owner}`.slice(0, ALIAS_LENGTH_MAX);
}

function unusable(reason: string, cause?: unknown): CairnError {
  return new CairnError('FailedPrecondition', `the embedded network can't be used: ${reason}`, {
    step: 'network.embedded',
    cause,
  });
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
