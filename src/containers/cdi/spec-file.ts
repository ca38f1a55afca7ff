/**
 * The door for a spec file of the Container Device Interface (CDI 1.1 and earlier): what a vendor says must be done to a
 * container that gets one of its devices. JSON or YAML; a field that is not known is refused, for it may matter.
 */
import { type ParseOptions, parse as parseYaml, type SchemaOptions } from 'yaml';
import { messageOf } from '../../base/errors.ts';

export interface CdiDeviceNode {
  /** In the container. */
  readonly path: string;
  readonly hostPath: string | undefined;
  readonly type: 'b' | 'c' | 'p' | undefined;
  readonly major: number | undefined;
  readonly minor: number | undefined;
  readonly fileMode: number | undefined;
  /** Of the letters r, w and m; empty: none. */
  readonly permissions: string;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly type: string;
  readonly options: readonly string[];
}

export const HOOK_NAMES = [
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
] as const;
export type HookName = (typeof HOOK_NAMES)[number];

export interface CdiHook {
  readonly hookName: HookName;
  readonly path: string;
  readonly args: readonly string[] | undefined;
  readonly env: readonly string[] | undefined;
  readonly timeout: number | undefined;
}

export interface CdiEdits {
  readonly env: readonly string[];
  readonly deviceNodes: readonly CdiDeviceNode[];
  readonly mounts: readonly CdiMount[];
  readonly hooks: readonly CdiHook[];
  readonly additionalGids: readonly number[];
  /** Edits that Cairn can't make: the device is then refused. */
  readonly refused: readonly string[];
}

export interface CdiSpec {
  /** `vendor.com/class`. */
  readonly kind: string;
  /** For a container that gets any of its devices. */
  readonly edits: CdiEdits;
  readonly devices: ReadonlyMap<string, CdiEdits>;
}

const KNOWN_VERSIONS = /^(0\.[3-8]|1\.[01])\.\d+$/;
const ID_MAX = 2 ** 32 - 2;
const DEVICE_NUMBER_MAX = 2 ** 32 - 1;

/** Go's YAML libraries, which CDI's own tools use, read `0666` as an octal number; YAML 1.2 would not. */
const YAML_OPTIONS: ParseOptions & SchemaOptions = {
  customTags: (tags) => [
    {
      default: true,
      tag: 'tag:yaml.org,2002:int',
      test: /^0[0-7]+$/,
      resolve: (text: string) => Number.parseInt(text, 8),
    },
    ...tags,
  ],
};

/** Throws an Error that completes "FILE: ". */
export function parseCdiSpec(text: string, format: 'json' | 'yaml'): CdiSpec {
  const root = record(format === 'json' ? parseJson(text) : parseYaml(text, YAML_OPTIONS), 'the file');
  only(root, 'the file', ['cdiVersion', 'kind', 'annotations', 'devices', 'containerEdits']);
  const version = string(root['cdiVersion'], 'cdiVersion');
  if (!KNOWN_VERSIONS.test(version)) throw new Error(`cdiVersion ${shown(version)} is not one from 0.3 to 1.1`);
  const kind = string(root['kind'], 'kind');
  if (!isKind(kind)) throw new Error(`kind ${shown(kind)} is not of the form vendor.com/class`);
  const devices = new Map<string, CdiEdits>();
  for (const [index, unsafe] of list(root['devices'], 'devices').entries()) {
    const where = `devices[${index}]`;
    const device = record(unsafe, where);
    only(device, where, ['name', 'annotations', 'containerEdits']);
    const name = string(device['name'], `${where}.name`);
    if (!isDeviceName(name)) throw new Error(`${where}.name: ${shown(name)} is not the name of a device`);
    if (devices.has(name)) throw new Error(`${where}.name: there are two devices ${shown(name)}`);
    devices.set(name, parseEdits(device['containerEdits'], `${where}.containerEdits`));
  }
  return { kind, edits: parseEdits(root['containerEdits'], 'containerEdits'), devices };
}

/** `vendor.com/class`. */
export function isKind(text: string): boolean {
  const name = /^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?$/;
  const [vendor = '', kind = '', ...rest] = text.split('/');
  return rest.length === 0 && name.test(vendor) && name.test(kind);
}

export function isDeviceName(text: string): boolean {
  return /^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$/.test(text);
}

function parseEdits(unsafe: unknown, where: string): CdiEdits {
  const edits = unsafe === undefined || unsafe === null ? {} : record(unsafe, where);
  const known = ['env', 'deviceNodes', 'netDevices', 'hooks', 'mounts', 'intelRdt', 'additionalGids'];
  only(edits, where, known);
  const each = <T>(key: string, parse: (item: unknown, where: string) => T) =>
    list(edits[key], `${where}.${key}`).map((item, index) => parse(item, `${where}.${key}[${index}]`));
  return {
    env: each('env', variable),
    deviceNodes: each('deviceNodes', parseDeviceNode),
    mounts: each('mounts', parseMount),
    hooks: each('hooks', parseHook),
    additionalGids: each('additionalGids', (gid, place) => integer(gid, place, ID_MAX)).filter((gid) => gid !== 0),
    refused: ['netDevices', 'intelRdt'].filter((key) => edits[key] !== undefined && edits[key] !== null),
  };
}

function parseDeviceNode(unsafe: unknown, where: string): CdiDeviceNode {
  const node = record(unsafe, where);
  only(node, where, ['path', 'hostPath', 'type', 'major', 'minor', 'fileMode', 'permissions', 'uid', 'gid']);
  const type = optional(node['type'], (value) => string(value, `${where}.type`)) || undefined;
  if (type !== undefined && !['b', 'c', 'u', 'p'].includes(type)) {
    throw new Error(`${where}.type: ${shown(type)} is none of b, c, u and p`);
  }
  const permissions = optional(node['permissions'], (value) => string(value, `${where}.permissions`)) || 'rwm';
  if (permissions !== 'none' && !/^[rwm]+$/.test(permissions)) {
    throw new Error(`${where}.permissions: ${shown(permissions)} is not of the letters r, w and m`);
  }
  const number = (key: string, max: number) => optional(node[key], (value) => integer(value, `${where}.${key}`, max));
  return {
    path: absolute(node['path'], `${where}.path`),
    hostPath: optional(node['hostPath'], (value) => absolute(value, `${where}.hostPath`)),
    // An unbuffered character device is a character device to Linux.
    type: type === 'u' ? 'c' : (type as 'b' | 'c' | 'p' | undefined),
    major: number('major', DEVICE_NUMBER_MAX),
    minor: number('minor', DEVICE_NUMBER_MAX),
    fileMode: number('fileMode', 0o7777),
    permissions: permissions === 'none' ? '' : permissions,
    uid: number('uid', ID_MAX),
    gid: number('gid', ID_MAX),
  };
}

function parseMount(unsafe: unknown, where: string): CdiMount {
  const mount = record(unsafe, where);
  only(mount, where, ['hostPath', 'containerPath', 'type', 'options']);
  const type = optional(mount['type'], (value) => string(value, `${where}.type`)) || 'bind';
  const options = list(mount['options'], `${where}.options`).map((one, index) =>
    string(one, `${where}.options[${index}]`),
  );
  const isBind = options.includes('bind') || options.includes('rbind');
  return {
    // Of a file system of the kernel's own the source is a mere name.
    hostPath: (type === 'bind' ? absolute : string)(mount['hostPath'], `${where}.hostPath`),
    containerPath: absolute(mount['containerPath'], `${where}.containerPath`),
    type,
    options: type === 'bind' && !isBind ? ['rbind', ...options] : options,
  };
}

function parseHook(unsafe: unknown, where: string): CdiHook {
  const hook = record(unsafe, where);
  only(hook, where, ['hookName', 'path', 'args', 'env', 'timeout']);
  const unsafeName = string(hook['hookName'], `${where}.hookName`);
  const hookName = HOOK_NAMES.find((name) => name === unsafeName);
  if (hookName === undefined)
    throw new Error(`${where}.hookName: ${shown(unsafeName)} is none of ${HOOK_NAMES.join(', ')}`);
  const strings = (key: string, parse: (item: unknown, place: string) => string) =>
    optional(hook[key], (value) =>
      list(value, `${where}.${key}`).map((item, index) => parse(item, `${where}.${key}[${index}]`)),
    );
  return {
    hookName,
    path: absolute(hook['path'], `${where}.path`),
    args: strings('args', string),
    env: strings('env', variable),
    timeout: optional(hook['timeout'], (value) => integer(value, `${where}.timeout`, 2 ** 31 - 1)),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`is not JSON: ${messageOf(error)}`);
  }
}

function record(unsafe: unknown, where: string): Record<string, unknown> {
  if (typeof unsafe === 'object' && unsafe !== null && !Array.isArray(unsafe)) return { ...unsafe };
  throw new Error(`${where} is not an object`);
}

function only(fields: Record<string, unknown>, where: string, known: readonly string[]): void {
  const unknownKey = Object.keys(fields).find((key) => !known.includes(key));
  if (unknownKey !== undefined) throw new Error(`${where}: unknown field ${shown(unknownKey)}`);
}

/** Absent is empty. */
function list(unsafe: unknown, where: string): unknown[] {
  if (unsafe === undefined || unsafe === null) return [];
  if (Array.isArray(unsafe)) return unsafe;
  throw new Error(`${where} is not a list`);
}

function optional<T>(unsafe: unknown, parse: (value: unknown) => T): T | undefined {
  return unsafe === undefined || unsafe === null || unsafe === '' ? undefined : parse(unsafe);
}

function string(unsafe: unknown, where: string): string {
  if (typeof unsafe === 'string' && !unsafe.includes('\0')) return unsafe;
  throw new Error(`${where}: ${shown(unsafe)} is not text`);
}

function absolute(unsafe: unknown, where: string): string {
  const path = string(unsafe, where);
  if (path.startsWith('/')) return path;
  throw new Error(`${where}: ${shown(path)} is not an absolute path`);
}

function variable(unsafe: unknown, where: string): string {
  const entry = string(unsafe, where);
  if (entry.indexOf('=') > 0) return entry;
  throw new Error(`${where}: ${shown(entry)} is not NAME=VALUE`);
}

function integer(unsafe: unknown, where: string, max: number): number {
  if (typeof unsafe === 'number' && Number.isInteger(unsafe) && unsafe >= 0 && unsafe <= max) return unsafe;
  throw new Error(`${where}: ${shown(unsafe)} is not a whole number from 0 to ${max}`);
}

function shown(unsafe: unknown): string {
  return (JSON.stringify(unsafe) ?? String(unsafe)).slice(0, 80);
}
