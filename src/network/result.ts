/**
 * What a plugin answers to ADD, in any version of the spec, as one typed value; and back into the form of a list's
 * version, which is how the next plugin (`prevResult`), CHECK and DEL want it.
 */
import { CairnError } from '../base/errors.ts';
import { tryParseSubnet } from './cidr.ts';
import type { CniVersion } from './conflist.ts';
import { isRecord, type JsonRecord, recordsIn, textIn, textsIn } from './json.ts';

export interface ResultInterface {
  readonly name: string;
  readonly mac: string;
  /** The network namespace it is in; empty: the host's. */
  readonly sandbox: string;
  /** Keys that only newer versions have (`mtu`, `socketPath`, `pciID`). */
  readonly more: JsonRecord;
}

export interface ResultAddress {
  /** With prefix length: `10.89.0.7/16`. */
  readonly address: string;
  readonly gateway: string | undefined;
  /** Index into `interfaces`. */
  readonly interfaceIndex: number | undefined;
}

export interface PluginResult {
  readonly interfaces: readonly ResultInterface[];
  readonly addresses: readonly ResultAddress[];
  readonly routes: readonly JsonRecord[];
  readonly dns: {
    readonly nameservers: readonly string[];
    readonly domain: string;
    readonly search: readonly string[];
    readonly options: readonly string[];
  };
}

/** Reads a plugin's answer. Throws `Unknown` with the reason; the caller adds the plugin's name. */
export function parseResult(unsafe: unknown): PluginResult {
  if (!isRecord(unsafe)) throw broken('the result is not an object');
  // A result without a version is one of 0.1.0 or 0.2.0 (the spec made it mandatory later).
  const version = textIn(unsafe, 'cniVersion') ?? '0.2.0';
  if (!/^\d+\.\d+\.\d+/.test(version)) throw broken(`cniVersion ${JSON.stringify(version)} is none`);
  return /^0\.[12]\./.test(version) ? parseLegacy(unsafe) : parseCurrent(unsafe);
}

/** The result in the form of `version`. */
export function formatResult(result: PluginResult, version: CniVersion): JsonRecord {
  const tagsFamily = version === '0.3.1' || version === '0.4.0';
  return {
    cniVersion: version,
    interfaces: result.interfaces.map(({ name, mac, sandbox, more }) => ({
      name,
      ...(mac === '' ? {} : { mac }),
      ...(sandbox === '' ? {} : { sandbox }),
      ...more,
    })),
    ips: result.addresses.map(({ address, gateway, interfaceIndex }) => ({
      ...(tagsFamily ? { version: address.includes(':') ? '6' : '4' } : {}),
      ...(interfaceIndex === undefined ? {} : { interface: interfaceIndex }),
      address,
      ...(gateway === undefined ? {} : { gateway }),
    })),
    routes: result.routes,
    dns: {
      ...(result.dns.nameservers.length === 0 ? {} : { nameservers: result.dns.nameservers }),
      ...(result.dns.domain === '' ? {} : { domain: result.dns.domain }),
      ...(result.dns.search.length === 0 ? {} : { search: result.dns.search }),
      ...(result.dns.options.length === 0 ? {} : { options: result.dns.options }),
    },
  };
}

/**
 * The pod's addresses without prefix length: the first one, then the first of the other family, then the rest.
 * Addresses that the result puts on an interface of the host are not the pod's.
 */
export function podAddresses(result: PluginResult): string[] {
  const addresses = result.addresses
    .filter(({ interfaceIndex }) => {
      const owner = interfaceIndex === undefined ? undefined : result.interfaces[interfaceIndex];
      return owner === undefined || owner.sandbox !== '';
    })
    .map(({ address }) => address.slice(0, address.indexOf('/')));
  const [primary] = addresses;
  if (primary === undefined) return [];
  const secondary = addresses.find((address) => address.includes(':') !== primary.includes(':'));
  const rest = addresses.slice(1).filter((address) => address !== secondary);
  return secondary === undefined ? [primary, ...rest] : [primary, secondary, ...rest];
}

function parseCurrent(unsafe: JsonRecord): PluginResult {
  return {
    interfaces: recordsIn(unsafe, 'interfaces').map(({ name, mac, sandbox, ...more }) => ({
      name: typeof name === 'string' ? name : '',
      mac: typeof mac === 'string' ? mac : '',
      sandbox: typeof sandbox === 'string' ? sandbox : '',
      more,
    })),
    addresses: recordsIn(unsafe, 'ips').map((ip, index) => {
      const interfaceIndex = ip['interface'];
      return {
        address: parseAddress(ip['address'], `ips[${index}].address`),
        gateway: textIn(ip, 'gateway'),
        interfaceIndex: typeof interfaceIndex === 'number' && interfaceIndex >= 0 ? interfaceIndex : undefined,
      };
    }),
    routes: recordsIn(unsafe, 'routes'),
    dns: parseDns(unsafe['dns']),
  };
}

/** 0.1.0 and 0.2.0 knew one address of each family, its routes beside it. */
function parseLegacy(unsafe: JsonRecord): PluginResult {
  const families = ['ip4', 'ip6'].flatMap((key) => {
    const family = unsafe[key];
    return isRecord(family) ? [{ key, family }] : [];
  });
  return {
    interfaces: [],
    addresses: families.map(({ key, family }) => ({
      address: parseAddress(family['ip'], `${key}.ip`),
      gateway: textIn(family, 'gateway'),
      interfaceIndex: undefined,
    })),
    routes: families.flatMap(({ family }) => recordsIn(family, 'routes')),
    dns: parseDns(unsafe['dns']),
  };
}

function parseDns(unsafe: unknown): PluginResult['dns'] {
  const dns = isRecord(unsafe) ? unsafe : {};
  return {
    nameservers: textsIn(dns, 'nameservers'),
    domain: textIn(dns, 'domain') ?? '',
    search: textsIn(dns, 'search'),
    options: textsIn(dns, 'options'),
  };
}

function parseAddress(unsafe: unknown, place: string): string {
  if (typeof unsafe !== 'string' || tryParseSubnet(unsafe) === undefined) {
    throw broken(`${place}: ${JSON.stringify(unsafe)} is not an address with prefix length`);
  }
  return unsafe;
}

function broken(reason: string): CairnError {
  return new CairnError('Unknown', reason, { step: 'network.result' });
}
