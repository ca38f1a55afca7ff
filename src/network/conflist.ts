/**
 * CNI network configuration files: what a directory offers, checked, and which one is used.
 *
 * As with containerd and CRI-O, files ending in .conflist, .conf and .json are read in the order of their names and the
 * first valid one wins. .conflist holds a list of plugins, .conf and .json hold a single plugin, which is a list of one.
 */
import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, errnoOf, isCairnError, messageOf } from '../base/errors.ts';
import { isRecord, type JsonRecord } from './json.ts';

/** Versions of the CNI spec that Cairn speaks, oldest first. */
export const CNI_VERSIONS = ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];

export interface PluginConfig {
  /** The name of the plugin's program. */
  readonly type: string;
  /** What the plugin wants to know at run time (`portMappings`, `bandwidth`, ...). */
  readonly capabilities: readonly string[];
  /** The configuration as written, without `capabilities`. */
  readonly settings: JsonRecord;
}

/** A network: plugins that are run one after the other. It is plain data: the attachment cache stores it as JSON. */
export interface NetworkList {
  readonly name: string;
  readonly cniVersion: CniVersion;
  readonly disableCheck: boolean;
  readonly disableGc: boolean;
  readonly plugins: readonly PluginConfig[];
  /** The file it came from, or what else made it. */
  readonly source: string;
}

export interface SkippedFile {
  readonly file: string;
  readonly reason: string;
}

export interface DirectoryScan {
  readonly list: NetworkList | undefined;
  /** Files before the one in use that are not valid, in order. */
  readonly skipped: readonly SkippedFile[];
}

const FILE_SIZE_BYTES_MAX = 1024 * 1024;
const FILE_NAME = /\.(conflist|conf|json)$/;
/** CNI spec 1.1, section 1. */
const NETWORK_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
/** It becomes a file name in a plugin directory: nothing that leaves the directory. */
const PLUGIN_TYPE = /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/;

/** Reads `directory`; a directory that does not exist offers nothing. */
export async function scanDirectory(directory: string): Promise<DirectoryScan> {
  const skipped: SkippedFile[] = [];
  for (const name of await candidates(directory)) {
    const file = join(directory, name);
    try {
      return { list: parseNetworkFile(await readBounded(file), file), skipped };
    } catch (error) {
      if (!isCairnError(error) && errnoOf(error) === undefined) throw error;
      skipped.push({ file, reason: messageOf(error) });
    }
  }
  return { list: undefined, skipped };
}

/** Parses the text of a configuration file; its name decides the form. Throws InvalidArgument with the reason. */
export function parseNetworkFile(text: string, file: string): NetworkList {
  const unsafe = parseJson(text);
  if (file.endsWith('.conflist')) return parseList(unsafe, file);
  if (unsafe['plugins'] !== undefined) throw invalid('holds a list of plugins: name the file .conflist');
  // Of a single plugin's file, name and version belong to the list, the rest to the plugin.
  const { name, cniVersion, ...plugin } = unsafe;
  return parseList({ name, cniVersion, plugins: [plugin] }, file);
}

function parseList(unsafe: JsonRecord, source: string): NetworkList {
  const unsafeName = unsafe['name'];
  if (typeof unsafeName !== 'string' || !NETWORK_NAME.test(unsafeName)) {
    throw invalid(`name: ${shown(unsafeName)} is not a network name (letters, digits, "_", "." and "-")`);
  }
  const unsafePlugins = unsafe['plugins'];
  if (!Array.isArray(unsafePlugins) || unsafePlugins.length === 0) throw invalid('plugins: is not a list of plugins');
  return {
    name: unsafeName,
    cniVersion: chooseVersion(unsafe['cniVersion'], unsafe['cniVersions']),
    disableCheck: parseFlag(unsafe, 'disableCheck'),
    disableGc: parseFlag(unsafe, 'disableGC'),
    plugins: unsafePlugins.map((plugin, index) => parsePlugin(plugin, `plugins[${index}]`)),
    source,
  };
}

function parsePlugin(unsafe: unknown, place: string): PluginConfig {
  if (!isRecord(unsafe)) throw invalid(`${place}: is not an object`);
  const { capabilities: unsafeCapabilities, ...settings } = unsafe;
  const type = settings['type'];
  if (typeof type !== 'string' || !PLUGIN_TYPE.test(type)) {
    throw invalid(`${place}.type: ${shown(type)} is not the name of a plugin`);
  }
  if (unsafeCapabilities !== undefined && !isRecord(unsafeCapabilities)) {
    throw invalid(`${place}.capabilities: is not an object`);
  }
  const capabilities = Object.entries(unsafeCapabilities ?? {}).filter(([, wanted]) => wanted === true);
  return { type, capabilities: capabilities.map(([name]) => name), settings };
}

/** The newest of the versions that the list says it works with and that Cairn speaks (CNI spec 1.1, `cniVersions`). */
function chooseVersion(unsafeVersion: unknown, unsafeVersions: unknown): CniVersion {
  const more = unsafeVersions === undefined ? [] : unsafeVersions;
  if (!Array.isArray(more)) throw invalid('cniVersions: is not a list');
  const chosen = CNI_VERSIONS.findLast((version) => version === unsafeVersion || more.includes(version));
  if (chosen === undefined) {
    throw invalid(`cniVersion: ${shown(unsafeVersion)} is none of ${CNI_VERSIONS.join(', ')}`);
  }
  return chosen;
}

/** libcni also takes the words, so files in the field have them. */
function parseFlag(unsafe: JsonRecord, key: string): boolean {
  const value = unsafe[key];
  if (value === undefined || value === false || value === 'false') return false;
  if (value === true || value === 'true') return true;
  throw invalid(`${key}: ${shown(value)} is neither true nor false`);
}

function parseJson(text: string): JsonRecord {
  let unsafe: unknown;
  try {
    unsafe = JSON.parse(text);
  } catch (error) {
    throw new CairnError('InvalidArgument', `is not JSON: ${messageOf(error)}`, { cause: error });
  }
  if (!isRecord(unsafe)) throw invalid('is not a JSON object');
  return unsafe;
}

async function candidates(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).filter((name) => FILE_NAME.test(name)).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw new CairnError('FailedPrecondition', `cannot read ${directory}: ${messageOf(error)}`, {
      step: 'network.scan',
      cause: error,
    });
  }
}

async function readBounded(file: string): Promise<string> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    if (size > FILE_SIZE_BYTES_MAX) throw invalid(`is larger than ${FILE_SIZE_BYTES_MAX} bytes`);
    return await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

function invalid(reason: string): CairnError {
  return new CairnError('InvalidArgument', reason, { step: 'network.conflist' });
}

function shown(unsafe: unknown): string {
  return unsafe === undefined ? 'nothing' : JSON.stringify(unsafe).slice(0, 80);
}
