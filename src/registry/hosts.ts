/**
 * The hosts that serve a registry's images: `certs.d/HOST/hosts.toml` as containerd lays it out, mirrors first.
 *
 * The directory of `HOST:PORT` is called `HOST_PORT_` or `HOST:PORT`; `_default` holds for registries without one. A
 * directory without hosts.toml may hold Docker's certificate files (`*.crt`, `*.cert` with `*.key`). Files are read for
 * every call (they are small, and an operator's edit holds at once); only the parsing of the same text is saved.
 */
import { readdir, readFile } from 'node:fs/promises';
import { isIPv4 } from 'node:net';
import { join, resolve } from 'node:path';
import { CairnError, errnoOf, messageOf } from '../base/errors.ts';
import { CAPABILITIES, type Capability, type HostSection, type HostsFile, parseHostsToml } from './hosts-toml.ts';
import { DOCKER_HUB } from './reference.ts';
import { DEFAULT_TLS, type TlsSettings } from './tls.ts';

/** One host to ask. */
export interface RegistryHost {
  /** `https://mirror.example:5000`. */
  readonly origin: string;
  /** `mirror.example:5000`. */
  readonly authority: string;
  /** What repositories hang under: `/v2`. */
  readonly path: string;
  readonly capabilities: readonly Capability[];
  readonly tls: TlsSettings;
  readonly headers: Readonly<Record<string, string>>;
  readonly connectTimeoutMs: number | undefined;
  /** The registry itself rather than a mirror of it. */
  readonly isServer: boolean;
  /** Plain HTTP is tried when TLS is not spoken: a loopback registry that nobody configured. */
  readonly plainFallback: boolean;
  /** True when the host is not the registry of the name: it is told which one is meant (`?ns=`). */
  readonly isProxy: boolean;
}

const DOCKER_HUB_SERVER = 'registry-1.docker.io';
const PARSED_MAX = 64;

export interface HostDirectory {
  /** Hosts for images of `registry` (a reference's host), in the order to ask. FailedPrecondition: a bad file. */
  hostsFor(registry: string): Promise<readonly RegistryHost[]>;
}

export function createHostDirectory(configPath: string): HostDirectory {
  const parsed = new Map<string, { readonly text: string; readonly hosts: HostsFile }>();

  const parseCached = (file: string, text: string): HostsFile => {
    const known = parsed.get(file);
    if (known?.text === text) return known.hosts;
    const hosts = parseHostsToml(text, file);
    parsed.delete(file);
    parsed.set(file, { text, hosts });
    const [oldest] = parsed.keys();
    if (parsed.size > PARSED_MAX && oldest !== undefined) parsed.delete(oldest);
    return hosts;
  };

  return {
    hostsFor: async (registry) => {
      for (const name of directoryNames(registry)) {
        const directory = join(configPath, name);
        const names = await listDirectory(directory);
        if (!names) continue;
        if (!names.includes('hosts.toml')) return [await hostWithCertificates(registry, directory, names)];
        const file = join(directory, 'hosts.toml');
        const { server, hosts } = parseCached(file, await readText(file, file));
        const made = hosts.map((section) => hostOf(section, registry, directory, file));
        return Promise.all([...made, serverOf(server, registry, directory, file)]);
      }
      return [defaultHost(registry)];
    },
  };
}

/** The directories that may describe `registry`; the first that exists does. */
function directoryNames(registry: string): string[] {
  const port = /^(.*):(\d+)$/.exec(registry);
  const underscored = port ? [`${port[1]}_${port[2]}_`] : [];
  return [...underscored, registry, '_default'];
}

/** The registry itself, asked where nothing is configured. */
function defaultHost(registry: string): RegistryHost {
  const authority = registry === DOCKER_HUB ? DOCKER_HUB_SERVER : registry;
  const port = /:(\d+)$/.exec(authority)?.[1];
  const loopback = isLoopback(authority);
  const plain = loopback && port === '80';
  return {
    origin: `${plain ? 'http' : 'https'}://${authority}`,
    authority,
    path: '/v2',
    capabilities: CAPABILITIES,
    // As containerd does: what listens on loopback is this machine, and test registries make their own certificates.
    tls: loopback ? { ...DEFAULT_TLS, skipVerify: true } : DEFAULT_TLS,
    headers: {},
    connectTimeoutMs: undefined,
    isServer: true,
    plainFallback: loopback && !plain && port !== undefined && port !== '443',
    isProxy: false,
  };
}

async function hostWithCertificates(
  registry: string,
  directory: string,
  names: readonly string[],
): Promise<RegistryHost> {
  const read = (name: string) => readText(join(directory, name), directory);
  const certificates = names.filter((name) => name.endsWith('.cert'));
  const [authorities, clients] = await Promise.all([
    Promise.all(names.filter((name) => name.endsWith('.crt')).map(read)),
    Promise.all(certificates.map((name) => readPair(read, name, name.replace(/\.cert$/, '.key')))),
  ]);
  const host = defaultHost(registry);
  if (authorities.length === 0 && clients.length === 0) return host;
  return { ...host, tls: { authorities, clients, skipVerify: false, source: directory } };
}

async function readPair(read: (path: string) => Promise<string>, certificatePath: string, keyPath: string) {
  const [certificate, key] = await Promise.all([read(certificatePath), read(keyPath)]);
  return { certificate, key };
}

async function serverOf(
  section: HostSection,
  registry: string,
  directory: string,
  file: string,
): Promise<RegistryHost> {
  const standard = defaultHost(registry);
  const url = section.url ?? new URL(standard.origin);
  const host = await hostOf({ ...section, url }, registry, directory, file);
  // A loopback registry stays easy, unless the file says how to reach it.
  const plainFallback = section.url === undefined && standard.plainFallback;
  const lenient = plainFallback && section.skipVerify === undefined && section.caPaths.length === 0;
  return { ...host, tls: lenient ? { ...host.tls, skipVerify: true } : host.tls, plainFallback, isServer: true };
}

async function hostOf(section: HostSection, registry: string, directory: string, file: string): Promise<RegistryHost> {
  const url = section.url ?? new URL(defaultHost(registry).origin);
  const place = `${file}:${section.line}`;
  const read = (path: string) => readText(resolve(directory, path), place);
  const [authorities, clients] = await Promise.all([
    Promise.all(section.caPaths.map(read)),
    Promise.all(section.clientPaths.map((pair) => readPair(read, pair.certificate, pair.key))),
  ]);
  return {
    origin: url.origin,
    authority: url.host,
    path: apiPath(url.pathname, section.overridePath),
    capabilities: section.capabilities,
    tls: {
      authorities,
      clients,
      skipVerify: section.skipVerify ?? false,
      source: place,
    },
    headers: section.headers,
    connectTimeoutMs: section.connectTimeoutMs,
    isServer: false,
    plainFallback: false,
    isProxy: url.host !== registry && !(registry === DOCKER_HUB && url.host === DOCKER_HUB_SERVER),
  };
}

/** `/v2` goes behind the path of the address, unless it is there or the file says that the path is the whole of it. */
function apiPath(pathname: string, overridePath: boolean): string {
  const path = pathname.replace(/\/+$/, '');
  return overridePath || path.endsWith('/v2') ? path : `${path}/v2`;
}

/** True for `localhost` and loopback addresses, with or without a port. */
export function isLoopback(authority: string): boolean {
  const host = authority.replace(/:\d+$/, '');
  return host === 'localhost' || host === '[::1]' || host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

async function listDirectory(directory: string): Promise<string[] | undefined> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw unreadable(directory, directory, error);
  }
}

async function readText(path: string, place: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw unreadable(path, place, error);
  }
}

function unreadable(path: string, place: string, error: unknown): CairnError {
  const where = path === place ? place : `${place}: ${path}`;
  return new CairnError('FailedPrecondition', `${where}: can't be read: ${errnoOf(error) ?? messageOf(error)}`, {
    step: 'registry.hosts',
    cause: error,
  });
}
