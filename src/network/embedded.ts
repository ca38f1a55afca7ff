/**
 * The network that Cairn brings along: a bridge, made by the reference plugins `bridge`, `host-local`, `portmap` and
 * `bandwidth`, for hosts where nobody installed a network.
 *
 * Everything it owns carries its own name: addresses lie under the root, rules in chains named after the bridge, and the
 * bridge's alias says whose it is. Pods live on while the daemon is away, so nothing is taken down at its end:
 * `teardown` does that.
 */
import { readdir, readFile, rm } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { CairnError, errnoOf, isCairnError, messageOf } from '../base/errors.ts';
import { SharedWork } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { addressIn, formatSubnet, parseSubnet, type Subnet } from './cidr.ts';
import { type NetworkList, parseNetworkFile } from './conflist.ts';
import {
  claimBridge,
  deleteBridge,
  ensureForwarding,
  foreignRoute,
  hasRoute,
  inspectBridge,
  readMtu,
  refuseBridgeInUse,
  refuseCollision,
} from './embedded-host.ts';
import { defaultRouteDevice, readHostRoutes } from './host-routes.ts';
import { createHostRules } from './host-rules.ts';
import type { EmbeddedOptions } from './index.ts';

export interface EmbeddedNetwork {
  /** Why it can't be used on this host as it is now; undefined when it can. */
  problem(): Promise<string | undefined>;
  /** Prepares the host as far as that is missing, and says how pods attach. `attachedIds`: who has an address. */
  ensure(attachedIds: () => Promise<readonly string[]>): Promise<NetworkList>;
  /** After a pod was attached: the bridge exists now. */
  claim(): Promise<void>;
  /** Removes bridge, rules and address book. Only when no pod is attached. */
  teardown(): Promise<void>;
}

/** How long the rules are trusted to be there: a firewall's reload may sweep them away. */
const RULES_TRUSTED_MS = 60_000;
/** A bridge has this MTU by itself. */
const MTU_DEFAULT = 1500;
/** IFNAMSIZ less the final zero, and no character that a path or a chain name can't have. */
const BRIDGE_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}$/;

export function createEmbeddedNetwork(options: {
  readonly embedded: EmbeddedOptions;
  /** Where the address book lies. */
  readonly dataDirectory: string;
  /** What tells this instance from others on the host: its root. */
  readonly owner: string;
  readonly log: Logger;
}): EmbeddedNetwork {
  const { dataDirectory, owner, log } = options;
  const { name, bridge } = options.embedded;
  const subnets = subnetsOf(options.embedded);
  const rules = createHostRules({ name, bridge, subnets });
  let prepared: NetworkList | undefined;
  let rulesSeenAt = 0;
  let claimed = false;
  const ensuring = new SharedWork<NetworkList>();

  async function prepare(attachedIds: readonly string[]): Promise<NetworkList> {
    const routes = await readHostRoutes();
    refuseCollision(routes, subnets, bridge);
    const state = await inspectBridge(bridge, owner);
    const foreign = foreignRoute(routes, subnets, bridge);
    if (foreign) {
      const was = `bridge ${bridge} has the route ${formatSubnet(foreign.destination)} of an earlier configuration`;
      if (state !== 'ours' || attachedIds.length > 0) {
        throw new CairnError('FailedPrecondition', `${was}: stop the pods on it, then delete it`, {
          step: 'network.embedded',
        });
      }
      log.info({ bridge }, `${was}, and no pod is on it: it is made anew`);
      await deleteBridge(bridge);
    } else if (state === 'unclaimed') {
      if (!hasRoute(routes, subnets, bridge)) await refuseBridgeInUse(bridge);
      await claim();
    }
    await ensureForwarding(subnets, log);
    await rules.ensure();
    await sweepAddresses(join(dataDirectory, name), new Set(attachedIds), log);
    const uplink = defaultRouteDevice(routes);
    return listFor(options.embedded, subnets, dataDirectory, uplink === undefined ? undefined : await readMtu(uplink));
  }

  async function claim(): Promise<void> {
    if (claimed) return;
    claimed = true;
    try {
      await claimBridge(bridge, owner);
    } catch (error) {
      // sysfs may be read-only in a container. The mark protects from mistakes; pods work without it.
      if (errnoOf(error) === undefined) throw error;
      log.warn({ bridge, reason: messageOf(error) }, 'the bridge could not be marked as this instance’s');
    }
  }

  async function ensure(attachedIds: () => Promise<readonly string[]>): Promise<NetworkList> {
    const now = performance.now();
    if (prepared === undefined) {
      prepared = await prepare(await attachedIds());
      rulesSeenAt = now;
    } else if (now - rulesSeenAt > RULES_TRUSTED_MS) {
      if (!(await rules.present())) {
        log.warn({ bridge }, "the embedded network's rules were gone from iptables; they are put back");
        await rules.ensure();
      }
      rulesSeenAt = now;
    }
    return prepared;
  }

  return {
    problem: () => checkEmbeddedNetwork(options.embedded, owner),
    // Two pods at once must not both find a rule missing and add it.
    ensure: (attachedIds) => ensuring.run('', () => ensure(attachedIds)),
    claim,
    async teardown() {
      const state = await inspectBridge(bridge, owner);
      const marked = claimed;
      prepared = undefined;
      claimed = false;
      await rules.remove();
      if (state === 'ours' || (state === 'unclaimed' && marked)) await deleteBridge(bridge);
      await rm(join(dataDirectory, name), { recursive: true, force: true });
    },
  };
}

/** Why the network can't be used on this host as it is; undefined when it can. `owner`: the instance's root. */
export async function checkEmbeddedNetwork(embedded: EmbeddedOptions, owner: string): Promise<string | undefined> {
  try {
    refuseCollision(await readHostRoutes(), subnetsOf(embedded), embedded.bridge);
    await inspectBridge(embedded.bridge, owner);
    return undefined;
  } catch (error) {
    if (isCairnError(error)) return error.message;
    throw error;
  }
}

function subnetsOf(embedded: EmbeddedOptions): Subnet[] {
  if (!BRIDGE_NAME.test(embedded.bridge)) {
    throw new CairnError('InvalidArgument', `bridge: ${JSON.stringify(embedded.bridge)} can't name a network device`);
  }
  const subnets = [parseSubnet(embedded.subnet, 4, 'subnet')];
  if (embedded.subnet6) subnets.push(parseSubnet(embedded.subnet6, 6, 'subnet6'));
  return subnets;
}

/** The network's configuration, in the version that plugins from 2019 on speak. */
function listFor(
  { name, bridge }: EmbeddedOptions,
  subnets: readonly Subnet[],
  dataDirectory: string,
  uplinkMtu: number | undefined,
): NetworkList {
  const text = JSON.stringify({
    cniVersion: '1.0.0',
    name,
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        // A pod may reach itself through its own host port.
        hairpinMode: true,
        // Larger packets than the host's uplink takes would only be thrown away there.
        ...(uplinkMtu !== undefined && uplinkMtu < MTU_DEFAULT ? { mtu: uplinkMtu } : {}),
        ipam: {
          type: 'host-local',
          dataDir: dataDirectory,
          ranges: subnets.map((subnet) => [{ subnet: formatSubnet(subnet), gateway: addressIn(subnet, 1n) }]),
          routes: subnets.map(({ family }) => ({ dst: family === 4 ? '0.0.0.0/0' : '::/0' })),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true }, snat: true },
      { type: 'bandwidth', capabilities: { bandwidth: true } },
    ],
  });
  return { ...parseNetworkFile(text, 'embedded.conflist'), source: 'embedded' };
}

/**
 * Frees addresses in host-local's book (a file for each, its first line the pod's ID) that no attachment has. host-local
 * does not sync, so a power cut can leave files that DEL does not recognise. No ADD of ours runs yet; a DEL may.
 */
async function sweepAddresses(directory: string, attached: ReadonlySet<string>, log: Logger): Promise<void> {
  for (const address of await listIfThere(directory)) {
    if (isIP(address) === 0) continue;
    const path = join(directory, address);
    const text = await readIfThere(path);
    const [id = ''] = text?.split(/\r?\n/) ?? [];
    if (text === undefined || attached.has(id.trim())) continue;
    log.info({ address, sandbox: id }, 'an address was held by a pod that is not attached; it is free again');
    await rm(path, { force: true });
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function listIfThere(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
