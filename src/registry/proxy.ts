/**
 * Which HTTP proxy a request goes through, by HTTP_PROXY, HTTPS_PROXY and NO_PROXY (and their lower-case names), as Go's
 * programs read them: kubelet, containerd and Cairn on one node must agree.
 */
import { BlockList, isIP } from 'node:net';
import { CairnError } from '../base/errors.ts';
import { isLoopback } from './hosts.ts';

/** The proxy for `url`, or undefined for a direct connection. Loopback is never proxied. */
export function proxyFor(url: URL, environment: NodeJS.ProcessEnv): URL | undefined {
  const name = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const text = variable(environment, name);
  if (!text || isLoopback(url.host) || isExempt(url, variable(environment, 'NO_PROXY'))) return undefined;
  const proxy = URL.parse(text.includes('://') ? text : `http://${text}`);
  if (proxy && /^(?:https?|socks5):$/.test(proxy.protocol) && proxy.hostname !== '') return proxy;
  // The value may hold a password: it is not shown.
  throw new CairnError('FailedPrecondition', `${name} is not the address of an http, https or socks5 proxy`, {
    step: 'registry.proxy',
  });
}

function variable(environment: NodeJS.ProcessEnv, name: string): string {
  return (environment[name] || environment[name.toLowerCase()] || '').trim();
}

/** An entry is `*`, a domain (it and what is below; with a leading dot: what is below), an address or a CIDR, with or without a port. */
function isExempt(url: URL, noProxy: string): boolean {
  const host = url.hostname.toLowerCase().replace(/^\[|\]$/g, '');
  const port = url.port || (url.protocol === 'https:' ? '443' : '80');
  return noProxy
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .filter(Boolean)
    .some((entry) => matches(entry, host, port));
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === '*') return true;
  const cidr = /^([0-9a-f.:]+)\/(\d{1,3})$/.exec(entry);
  if (cidr) return isIP(host) !== 0 && inSubnet(host, cidr[1] ?? '', Number(cidr[2]));
  const split = isIP(entry) === 6 ? undefined : /^(.*):(\d+)$/.exec(entry);
  if (split && split[2] !== port) return false;
  const name = (split?.[1] ?? entry).replace(/^\[|\]$/g, '').replace(/^\*\./, '.');
  if (name.startsWith('.')) return host.endsWith(name);
  return host === name || (isIP(name) === 0 && host.endsWith(`.${name}`));
}

function inSubnet(address: string, network: string, prefix: number): boolean {
  const family = isIP(network);
  if (family === 0 || family !== isIP(address) || prefix > (family === 6 ? 128 : 32)) return false;
  const name = family === 6 ? 'ipv6' : 'ipv4';
  const list = new BlockList();
  list.addSubnet(network, prefix, name);
  return list.check(address, name);
}
