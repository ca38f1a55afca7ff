/** The files that a pod's containers see as their own: host name, hosts, resolver configuration, shared memory. */
import { chown, mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { hostname as hostHostname } from 'node:os';
import { join } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { hostId, MountFlag, mount } from '../linux/index.ts';
import type { PodConfig } from './index.ts';

/** Where a pod's files are below its directory. */
export interface PodFiles {
  readonly hostname: string;
  readonly hosts: string;
  readonly resolvConf: string;
  readonly shm: string;
}

/** A DNS label. */
const HOSTNAME_LENGTH_MAX = 63;
/** What POSIX shared memory gets where the kubelet mounts nothing else: Docker's and containerd's size. */
const SHM_BYTES = 64 << 20;

export function podFiles(directory: string): PodFiles {
  return {
    hostname: join(directory, 'hostname'),
    hosts: join(directory, 'hosts'),
    resolvConf: join(directory, 'resolv.conf'),
    shm: join(directory, 'shm'),
  };
}

/**
 * The name that the pod's processes see. A pod on the host's network has the host's UTS namespace, and so its name. The pod's
 * own name may be longer than a host name can be: it is cut as the kubelet cuts it.
 */
export function podHostname(config: PodConfig, hostName = hostHostname()): string {
  if (config.hostname !== '') return config.hostname;
  if (config.namespaces.network === 'node') return hostName;
  return config.metadata.name.slice(0, HOSTNAME_LENGTH_MAX).replace(/[-.]+$/, '');
}

/** Who root of the pod is to the host. */
export function podRoot({ userNamespace }: PodConfig): { readonly uid: number; readonly gid: number } {
  if (!userNamespace) return { uid: 0, gid: 0 };
  return { uid: hostId(userNamespace.uids, 0) ?? 0, gid: hostId(userNamespace.gids, 0) ?? 0 };
}

/** Host name and resolver configuration, and the shared memory of a pod with an IPC namespace of its own. */
export async function makePodFiles(directory: string, config: PodConfig): Promise<void> {
  const files = podFiles(directory);
  await Promise.all([
    writePodFile(files.hostname, `${podHostname(config)}\n`, config),
    resolverOf(config).then((text) => writePodFile(files.resolvConf, text, config)),
    config.namespaces.ipc === 'node' ? undefined : mountShm(files.shm, config),
  ]);
}

/** /etc/hosts, which needs the pod's addresses. */
export async function makeHostsFile(directory: string, config: PodConfig, ips: readonly string[]): Promise<void> {
  await failpoint('pod.hosts.write');
  const text =
    config.namespaces.network === 'node' ? await readHostFile('/etc/hosts') : hostsFile(podHostname(config), ips);
  await writePodFile(podFiles(directory).hosts, text, config);
}

/** Root of the pod may change it. */
async function writePodFile(path: string, text: string, config: PodConfig): Promise<void> {
  await writeFile(path, text, { mode: 0o644 });
  const { uid, gid } = podRoot(config);
  if (uid !== 0 || gid !== 0) await chown(path, uid, gid);
}

export function hostsFile(hostname: string, ips: readonly string[]): string {
  return [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...ips.map((ip) => `${ip}\t${hostname}`),
    '',
  ].join('\n');
}

/** resolv.conf of a DNS configuration; undefined when it says nothing, which means the host's. */
export function resolvConf(dns: PodConfig['dns']): string | undefined {
  if (!dns || dns.servers.length + dns.searches.length + dns.options.length === 0) return undefined;
  const lines = [
    ...(dns.searches.length > 0 ? [`search ${dns.searches.join(' ')}`] : []),
    ...dns.servers.map((server) => `nameserver ${server}`),
    ...(dns.options.length > 0 ? [`options ${dns.options.join(' ')}`] : []),
  ];
  return `${lines.join('\n')}\n`;
}

async function resolverOf(config: PodConfig): Promise<string> {
  return resolvConf(config.dns) ?? (await readHostFile('/etc/resolv.conf'));
}

async function readHostFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    // A host without the file: its pods have an empty one.
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}

async function mountShm(target: string, config: PodConfig): Promise<void> {
  const { uid, gid } = podRoot(config);
  await mkdir(target, { mode: 0o1777, recursive: true });
  await failpoint('pod.shm.mount');
  const flags = MountFlag.nosuid | MountFlag.nodev | MountFlag.noexec;
  mount({ source: 'shm', target, type: 'tmpfs', flags, data: `mode=1777,size=${SHM_BYTES},uid=${uid},gid=${gid}` });
}

/** False when the pod had shared memory of its own and has lost it. */
export async function hasShm(directory: string, config: PodConfig): Promise<boolean> {
  if (config.namespaces.ipc === 'node') return true;
  try {
    const [inside, outside] = await Promise.all([stat(podFiles(directory).shm), stat(directory)]);
    return inside.dev !== outside.dev;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}
