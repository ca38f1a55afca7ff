/**
 * `hosts.toml`: containerd's description of the hosts that serve one registry's images.
 *
 * The top level describes the registry itself (`server`), each `[host."URL"]` a host that is asked before it, in the
 * order of the file. Every mistake is an error that names file and line: a key that is silently ignored sends pulls,
 * and perhaps credentials, to the wrong place.
 */
import { type AST, getStaticTOMLValue, ParseError, parseTOML } from 'toml-eslint-parser';
import { CairnError } from '../base/errors.ts';

export const CAPABILITIES = ['pull', 'resolve', 'push'] as const;
export type Capability = (typeof CAPABILITIES)[number];

/** One host as written. Paths are as in the file. */
export interface HostSection {
  /** Scheme, host and path; undefined at the top level of a file without `server`. */
  readonly url: URL | undefined;
  readonly capabilities: readonly Capability[];
  readonly caPaths: readonly string[];
  readonly clientPaths: readonly { readonly certificate: string; readonly key: string }[];
  readonly skipVerify: boolean | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly overridePath: boolean;
  readonly connectTimeoutMs: number | undefined;
  /** The section's line, for messages about files that it names. */
  readonly line: number;
}

export interface HostsFile {
  readonly server: HostSection;
  readonly hosts: readonly HostSection[];
}

const SIZE_BYTES_MAX = 1024 * 1024;
const HOSTS_MAX = 32;
const FIELDS = ['capabilities', 'ca', 'client', 'skip_verify', 'header', 'override_path', 'dial_timeout'];

interface Leaf {
  readonly path: readonly string[];
  readonly value: unknown;
  readonly line: number;
}

/** Parses the text of `file`. FailedPrecondition naming file and line. */
export function parseHostsToml(text: string, file: string): HostsFile {
  if (text.length > SIZE_BYTES_MAX) throw at(file, 1, `is larger than ${SIZE_BYTES_MAX} bytes`);
  const server: Leaf[] = [];
  const hosts = new Map<string, { readonly line: number; readonly leaves: Leaf[] }>();
  let serverUrl: URL | undefined;
  for (const leaf of leavesOf(text, file)) {
    const [first, second, ...rest] = leaf.path;
    if (first === 'server' && second === undefined) {
      const value = expectString(leaf, file);
      serverUrl = value === '' ? undefined : parseHostUrl(value, leaf.line, file);
    } else if (first === 'host' && second !== undefined) {
      const host = hosts.get(second) ?? { line: leaf.line, leaves: [] };
      hosts.set(second, host);
      if (rest.length > 0) host.leaves.push({ ...leaf, path: rest });
    } else if (first === 'host') {
      if (isTable(leaf.value)) continue;
      throw at(file, leaf.line, 'host: write one table per host: [host."https://mirror.example"]');
    } else {
      server.push(leaf);
    }
  }
  if (hosts.size > HOSTS_MAX) throw at(file, 1, `names ${hosts.size} hosts, at most ${HOSTS_MAX} are allowed`);
  return {
    server: readSection(server, serverUrl, 1, file, ['server', 'host', ...FIELDS]),
    hosts: [...hosts].map(([url, { line, leaves }]) =>
      readSection(leaves, parseHostUrl(url, line, file), line, file, FIELDS),
    ),
  };
}

/** Every value with its full path; a table without values is a leaf of its own, so that an empty [host."…"] counts. */
function* leavesOf(text: string, file: string): Generator<Leaf> {
  for (const node of parse(text, file).body[0].body) {
    if (node.type === 'TOMLKeyValue') {
      yield* flatten(node, []);
      continue;
    }
    if (node.kind === 'array') throw at(file, node.loc.start.line, `${keyOf(node.key).join('.')}: is not a list`);
    const prefix = keyOf(node.key);
    yield { path: prefix, value: {}, line: node.loc.start.line };
    for (const entry of node.body) yield* flatten(entry, prefix);
  }
}

function* flatten(node: AST.TOMLKeyValue, prefix: readonly string[]): Generator<Leaf> {
  const path = [...prefix, ...keyOf(node.key)];
  if (node.value.type === 'TOMLInlineTable') {
    yield { path, value: {}, line: node.loc.start.line };
    for (const entry of node.value.body) yield* flatten(entry, path);
  } else {
    yield { path, value: getStaticTOMLValue(node.value), line: node.loc.start.line };
  }
}

function keyOf(key: AST.TOMLKey): string[] {
  return key.keys.map((part) => (part.type === 'TOMLBare' ? part.name : part.value));
}

function parse(text: string, file: string): AST.TOMLProgram {
  try {
    return parseTOML(text);
  } catch (error) {
    if (error instanceof ParseError) throw at(file, error.lineNumber, error.message);
    throw error;
  }
}

function readSection(
  leaves: readonly Leaf[],
  url: URL | undefined,
  line: number,
  file: string,
  allowed: readonly string[],
): HostSection {
  const headers: Record<string, string> = {};
  let section: HostSection = {
    url,
    capabilities: CAPABILITIES,
    caPaths: [],
    clientPaths: [],
    skipVerify: undefined,
    headers,
    overridePath: false,
    connectTimeoutMs: undefined,
    line,
  };
  for (const leaf of leaves) {
    const [field, name, more] = leaf.path;
    if (field === 'header' && more === undefined) {
      if (name !== undefined) headers[headerName(name, leaf, file)] = headerValue(leaf, file);
      else if (!isTable(leaf.value)) throw at(file, leaf.line, 'header: is a table: [header] or [host."URL".header]');
    } else if (name !== undefined || field === undefined) {
      throw unknownKey(leaf, file, allowed);
    } else if (field === 'capabilities') {
      section = { ...section, capabilities: readCapabilities(leaf, file) };
    } else if (field === 'ca') {
      section = { ...section, caPaths: readPaths(leaf, file) };
    } else if (field === 'client') {
      section = { ...section, clientPaths: readClients(leaf, file) };
    } else if (field === 'skip_verify') {
      section = { ...section, skipVerify: expectBoolean(leaf, file) };
    } else if (field === 'override_path') {
      section = { ...section, overridePath: expectBoolean(leaf, file) };
    } else if (field === 'dial_timeout') {
      section = { ...section, connectTimeoutMs: readDuration(leaf, file) };
    } else {
      throw unknownKey(leaf, file, allowed);
    }
  }
  return section;
}

function unknownKey(leaf: Leaf, file: string, allowed: readonly string[]): CairnError {
  return at(file, leaf.line, `unknown key ${JSON.stringify(leaf.path.join('.'))}; allowed are ${allowed.join(', ')}`);
}

/** `https://` is understood where no scheme is written. */
function parseHostUrl(text: string, line: number, file: string): URL {
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `https://${text}`);
  if (!url || url.hostname === '' || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw at(file, line, `${JSON.stringify(text)} is not an http or https address`);
  }
  // A password here would end in logs and messages; header and the credentials of a docker config are the place for it.
  if (url.username !== '' || url.password !== '') throw at(file, line, 'an address must not hold a user or password');
  if (url.search !== '' || url.hash !== '') throw at(file, line, `${JSON.stringify(text)} must not have "?" or "#"`);
  return url;
}

function readCapabilities(leaf: Leaf, file: string): Capability[] {
  const value = leaf.value;
  if (!Array.isArray(value)) throw at(file, leaf.line, `capabilities: is a list of ${CAPABILITIES.join(', ')}`);
  return value.map((entry) => {
    const known = CAPABILITIES.find((capability) => capability === entry);
    if (!known) {
      const unknown = JSON.stringify(entry);
      throw at(file, leaf.line, `capabilities: unknown ${unknown}; allowed are ${CAPABILITIES.join(', ')}`);
    }
    return known;
  });
}

function readPaths(leaf: Leaf, file: string): string[] {
  const list = Array.isArray(leaf.value) ? leaf.value : [leaf.value];
  if (list.every((entry) => typeof entry === 'string' && entry !== '')) return list;
  throw at(file, leaf.line, 'ca: is the path of a PEM file or a list of them');
}

function readClients(leaf: Leaf, file: string): HostSection['clientPaths'] {
  const list: unknown[] = Array.isArray(leaf.value) ? leaf.value : [leaf.value];
  return list.map((entry) => {
    const [certificate, key, more]: unknown[] = Array.isArray(entry) ? entry : [entry];
    const isPath = typeof certificate === 'string' && certificate !== '';
    if (isPath && (key === undefined || key === '') && more === undefined) return { certificate, key: certificate };
    if (isPath && typeof key === 'string' && more === undefined) return { certificate, key };
    throw at(file, leaf.line, 'client: is a PEM file with certificate and key, or a list of [certificate, key] pairs');
  });
}

function headerName(name: string, leaf: Leaf, file: string): string {
  if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) return name.toLowerCase();
  throw at(file, leaf.line, `header: ${JSON.stringify(name)} is not the name of a header`);
}

/** Never shown: it may be a secret. */
function headerValue(leaf: Leaf, file: string): string {
  const list: unknown[] = Array.isArray(leaf.value) ? leaf.value : [leaf.value];
  const isText = (entry: unknown) => typeof entry === 'string' && /^[\t\x20-\x7e\x80-\xff]*$/.test(entry);
  if (list.length > 0 && list.every(isText)) return list.join(', ');
  throw at(file, leaf.line, `header: the value of ${JSON.stringify(leaf.path[1])} is a line of text or a list of them`);
}

/** As Go writes durations: `500ms`, `3s`, `1m30s`. */
function readDuration(leaf: Leaf, file: string): number {
  const text = typeof leaf.value === 'string' ? leaf.value : '';
  const milliseconds: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  let total = 0;
  for (const [, count, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)) {
    total += Number(count) * (milliseconds[unit ?? ''] ?? 0);
  }
  if (/^(?:\d+(?:\.\d+)?(?:ms|s|m|h))+$/.test(text) && total > 0) return total;
  throw at(file, leaf.line, `${leaf.path.at(-1)}: is a duration such as "500ms" or "3s"`);
}

function expectString(leaf: Leaf, file: string): string {
  if (typeof leaf.value === 'string') return leaf.value;
  throw at(file, leaf.line, `${leaf.path.at(-1)}: is a string`);
}

function expectBoolean(leaf: Leaf, file: string): boolean {
  if (typeof leaf.value === 'boolean') return leaf.value;
  throw at(file, leaf.line, `${leaf.path.at(-1)}: is true or false`);
}

function isTable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

function at(file: string, line: number, what: string): CairnError {
  return new CairnError('FailedPrecondition', `${file}:${line}: ${what}`, { step: 'registry.hosts' });
}
