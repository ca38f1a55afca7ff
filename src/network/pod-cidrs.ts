/**
 * The node's pod CIDRs, as the kubelet tells them (UpdateRuntimeConfig), and the network that is made of them where nobody
 * else has installed one: a bridge, as a file in the directory of configurations, so that whoever looks there sees it.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileDurably } from '../base/durable.ts';
import { CairnError, messageOf } from '../base/errors.ts';
import { addressIn, formatSubnet, type Subnet, tryParseSubnet } from './cidr.ts';
import { scanDirectory } from './conflist.ts';

const STEP = 'network.setPodCidrs';
/** After all others: an add-on's file has the say as soon as it is there. */
const FILE = '99-cairn-pod-cidr.conflist';

/** Throws InvalidArgument for what is no subnet. */
export function parsePodCidrs(cidrs: readonly string[]): Subnet[] {
  return cidrs.map((cidr) => {
    const subnet = tryParseSubnet(cidr);
    if (subnet !== undefined) return subnet;
    throw new CairnError('InvalidArgument', `pod CIDR ${JSON.stringify(cidr)} is not a subnet`, { step: STEP });
  });
}

export async function keepPodCidrs(directory: string, cidrs: readonly string[]): Promise<void> {
  await writeFileDurably(join(directory, 'pod-cidrs.json'), JSON.stringify(cidrs));
}

/** The file that it wrote; undefined when the directory holds a valid network already. */
export async function writePodCidrNetwork(options: {
  readonly confDir: string;
  readonly bridge: string;
  /** Of the address book. */
  readonly dataDirectory: string;
  readonly subnets: readonly Subnet[];
}): Promise<string | undefined> {
  const { confDir } = options;
  if ((await scanDirectory(confDir)).list !== undefined) return undefined;
  const file = join(confDir, FILE);
  try {
    await mkdir(confDir, { recursive: true, mode: 0o755 });
    await writeFileDurably(file, `${JSON.stringify(podCidrNetwork(options), null, 2)}\n`, 0o644);
  } catch (error) {
    throw new CairnError('FailedPrecondition', `${file} can't be written: ${messageOf(error)}`, {
      step: STEP,
      cause: error,
    });
  }
  return file;
}

/** The bridge is the gateway, and what leaves the subnet is masqueraded; routes between nodes are the cluster's affair. */
export function podCidrNetwork({
  bridge,
  dataDirectory,
  subnets,
}: {
  readonly bridge: string;
  readonly dataDirectory: string;
  readonly subnets: readonly Subnet[];
}): object {
  return {
    cniVersion: '1.0.0',
    name: 'cairn-pod-cidr',
    plugins: [
      {
        type: 'bridge',
        bridge,
        isGateway: true,
        ipMasq: true,
        hairpinMode: true,
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
  };
}
