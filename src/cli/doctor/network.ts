/** Pod networks: configuration, plugins, forwarding, packet filter. */
import { join } from 'node:path';
import { isCairnError } from '../../base/errors.ts';
import type { Config } from '../../config/index.ts';
import { checkEmbeddedNetwork, type DirectoryScan, type NetworkList, scanDirectory } from '../../network/index.ts';
import { type Check, subject } from './check.ts';
import { findProgram, readText, run } from './host.ts';

type NetworkConfig = Pick<Config, 'network' | 'root'>;

const INSTALL_PLUGINS = 'apt-get install containernetworking-plugins, or set [network] bin_dirs to where they are.';

export async function checkNetwork(config: NetworkConfig): Promise<Check[]> {
  const { confDir, embedded, subnet6 } = config.network;
  const scan = await scanIfReadable(confDir);
  const usesEmbedded = embedded && scan.list === undefined;
  const checks = [checkConfiguration(scan, confDir, usesEmbedded), await checkPlugins(config, scan.list, usesEmbedded)];
  if (usesEmbedded) checks.push(await checkSubnet(config));
  checks.push(await checkForwarding('ipv4', usesEmbedded));
  if (usesEmbedded && subnet6 !== '') checks.push(await checkForwarding('ipv6', usesEmbedded));
  checks.push(await checkPacketFilter(usesEmbedded || (scan.list?.plugins.some(usesPacketFilter) ?? false)));
  return checks;
}

/** A directory that can't be read is one with a file that can't. */
async function scanIfReadable(confDir: string): Promise<DirectoryScan> {
  try {
    return await scanDirectory(confDir);
  } catch (error) {
    if (!isCairnError(error)) throw error;
    return { list: undefined, skipped: [{ file: confDir, reason: error.message }] };
  }
}

function checkConfiguration({ list, skipped }: DirectoryScan, confDir: string, usesEmbedded: boolean): Check {
  const configuration = subject(
    'network.configuration',
    'Without a network the node stays NotReady and no pod starts.',
  );
  const reasons = skipped.map(({ file, reason }) => `${file}: ${reason}`).join('; ');
  const repair = 'Mend or remove the file: the first valid one in order of name is used.';
  if (list) {
    const used = `${list.name}, version ${list.cniVersion}, from ${list.source}`;
    return skipped.length > 0 ? configuration.warning(`${used}; skipped ${reasons}`, repair) : configuration.ok(used);
  }
  if (skipped.length > 0) return configuration.failed(`no valid file in ${confDir}: ${reasons}`, repair);
  if (usesEmbedded) return configuration.ok('the embedded network');
  return configuration.warning(
    `none in ${confDir}: pods wait until there is one`,
    'Install a network (a kubeadm cluster does it), or set [network] embedded = true.',
  );
}

async function checkPlugins(
  { network }: NetworkConfig,
  list: NetworkList | undefined,
  usesEmbedded: boolean,
): Promise<Check> {
  const plugins = subject('network.plugins', 'CNI plugins connect each pod; one that is missing stops every pod.');
  const names = list ? namesIn(list) : usesEmbedded ? ['bridge', 'host-local', 'portmap', 'bandwidth'] : [];
  const version = list?.cniVersion ?? '1.0.0';
  const problems: string[] = [];
  for (const name of names) {
    const file = await findPlugin(network.binDirs, name);
    if (file === undefined) {
      problems.push(`${name} is in none of ${network.binDirs.join(', ')}`);
      continue;
    }
    const spoken = await versionsOf(file);
    if (spoken === undefined) problems.push(`${file} does not say which versions it speaks`);
    else if (!spoken.includes(version)) problems.push(`${file} speaks ${spoken.join(', ')}, not ${version}`);
  }
  if (problems.length > 0) return plugins.failed(problems.join('; '), INSTALL_PLUGINS);
  if (names.length > 0) return plugins.ok(`${names.join(', ')}: there, and speak ${version}`);
  const bridge = await findPlugin(network.binDirs, 'bridge');
  if (bridge !== undefined) return plugins.ok(`the usual ones are there (${bridge})`);
  return plugins.warning(`the usual ones are in none of ${network.binDirs.join(', ')}`, INSTALL_PLUGINS);
}

/** The plugins of a list and the address managers that they call. */
function namesIn(list: NetworkList): string[] {
  return list.plugins.flatMap(({ type, settings }) => {
    const ipam = settings['ipam'];
    const manager = typeof ipam === 'object' && ipam !== null && 'type' in ipam ? ipam.type : undefined;
    return typeof manager === 'string' ? [type, manager] : [type];
  });
}

async function findPlugin(binDirs: readonly string[], name: string): Promise<string | undefined> {
  for (const directory of binDirs) {
    const file = await findProgram(join(directory, name));
    if (file !== undefined) return file;
  }
  return undefined;
}

/** What a plugin answers to VERSION (CNI spec); undefined when that is nothing. */
async function versionsOf(file: string): Promise<string[] | undefined> {
  const { stdout } = await run(file, [], { CNI_COMMAND: 'VERSION' });
  try {
    const { supportedVersions } = JSON.parse(stdout) as { supportedVersions?: unknown };
    return Array.isArray(supportedVersions) ? supportedVersions.map(String) : undefined;
  } catch {
    return undefined;
  }
}

async function checkSubnet({ network, root }: NetworkConfig): Promise<Check> {
  const addresses = subject('network.subnet', 'Pods must not have addresses that the host reaches somewhere else.');
  const { bridge, subnet, subnet6 } = network;
  const problem = await checkEmbeddedNetwork({ name: bridge, bridge, subnet, subnet6 }, root);
  if (problem === undefined) return addresses.ok(`${[subnet, subnet6].filter(Boolean).join(', ')} on ${bridge}`);
  return addresses.failed(problem, 'Set [network] subnet, subnet6 or bridge to something that is free.');
}

async function checkForwarding(family: 'ipv4' | 'ipv6', usesEmbedded: boolean): Promise<Check> {
  const forwarding = subject(`network.forwarding-${family}`, 'The host hands packets on between pods and the world.');
  const key = family === 'ipv4' ? 'net.ipv4.ip_forward' : 'net.ipv6.conf.all.forwarding';
  const value = await readText(`/proc/sys/${key.replaceAll('.', '/')}`);
  if (value === '1') return forwarding.ok(`${key} = 1`);
  if (value !== undefined && usesEmbedded) return forwarding.ok(`${key} = ${value}; cairnd sets it with the first pod`);
  return forwarding.warning(
    `${key} = ${value ?? 'not there'}`,
    `sysctl -w ${key}=1; echo ${key}=1 > /etc/sysctl.d/90-cairn.conf`,
  );
}

async function checkPacketFilter(needed: boolean): Promise<Check> {
  const filter = subject('network.iptables', 'Masquerading and host ports are iptables rules.');
  const bad = (summary: string, fix: string) => (needed ? filter.failed(summary, fix) : filter.warning(summary, fix));
  const file = await findProgram('iptables');
  if (file === undefined) return bad('iptables is not installed', 'apt-get install iptables');
  const version = await run(file, ['--version']);
  const rules = await run(file, ['-w', '5', '-t', 'nat', '-S', 'POSTROUTING']);
  if (!version.succeeded || !rules.succeeded) {
    return bad(
      `iptables does not work: ${(version.words || rules.words).slice(0, 300)}`,
      'Run as root, with the modules ip_tables and iptable_nat or nf_tables; update-alternatives --config iptables.',
    );
  }
  return filter.ok(version.stdout);
}

function usesPacketFilter({ type, settings }: NetworkList['plugins'][number]): boolean {
  return type === 'portmap' || type === 'firewall' || settings['ipMasq'] === true;
}
