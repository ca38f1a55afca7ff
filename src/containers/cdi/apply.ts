/** Puts the edits of CDI devices into a runtime spec. */
import { lstat } from 'node:fs/promises';
import { posix } from 'node:path';
import { CairnError, messageOf } from '../../base/errors.ts';
import { deviceNumbers } from '../../linux/index.ts';
import type { DeviceRule, DeviceSpec, HooksSpec, MountSpec, RuntimeSpec } from '../spec/oci.ts';
import type { CdiDeviceNode, CdiEdits, CdiHook } from './spec-file.ts';

const STEP = 'container.cdi';

/** Looks at the host for what a device node leaves out. */
export async function applyCdiEdits(spec: RuntimeSpec, all: readonly CdiEdits[]): Promise<RuntimeSpec> {
  let edited = spec;
  for (const edits of all) edited = await applyOne(edited, edits);
  return edited;
}

async function applyOne(spec: RuntimeSpec, edits: CdiEdits): Promise<RuntimeSpec> {
  const { process, linux } = spec;
  const nodes = await Promise.all(edits.deviceNodes.map((node) => deviceSpec(node, process.user)));
  const rules = edits.deviceNodes.flatMap((node, index) => deviceRule(nodes[index], node.permissions));
  const { resources } = linux;
  const gids = new Set([...process.user.additionalGids, ...edits.additionalGids]);
  const devices = new Map([...linux.devices, ...nodes].map((node) => [node.path, node]));
  return {
    ...spec,
    process: {
      ...process,
      env: withVariables(process.env, edits.env),
      user: { ...process.user, additionalGids: [...gids] },
    },
    mounts: withMounts(spec.mounts, edits),
    ...(edits.hooks.length === 0 ? {} : { hooks: withHooks(spec.hooks ?? {}, edits.hooks) }),
    linux: {
      ...linux,
      devices: [...devices.values()],
      resources: { ...resources, devices: [...resources.devices, ...rules] },
    },
  };
}

function withVariables(env: readonly string[], added: readonly string[]): string[] {
  const byName = new Map([...env, ...added].map((entry) => [entry.slice(0, entry.indexOf('=')), entry]));
  return [...byName.values()];
}

/** A mount at the same place is replaced; one below another comes after it. */
function withMounts(mounts: readonly MountSpec[], { mounts: added }: CdiEdits): MountSpec[] {
  const own = added.map(({ hostPath, containerPath, type, options }) => ({
    destination: posix.resolve('/', containerPath),
    type,
    source: hostPath,
    options,
  }));
  const taken = new Set(own.map(({ destination }) => destination));
  const all = [...mounts.filter(({ destination }) => !taken.has(posix.normalize(destination))), ...own];
  return all.toSorted((a, b) => depth(a.destination) - depth(b.destination));
}

function depth(path: string): number {
  return path.split('/').filter(Boolean).length;
}

function withHooks(hooks: HooksSpec, added: readonly CdiHook[]): HooksSpec {
  const result: Record<string, object[]> = Object.fromEntries(
    Object.entries(hooks).map(([name, list]) => [name, [...list]]),
  );
  for (const { hookName, path, args, env, timeout } of added) {
    const hook = {
      path,
      ...(args === undefined ? {} : { args }),
      ...(env === undefined ? {} : { env }),
      ...(timeout === undefined ? {} : { timeout }),
    };
    result[hookName] = [...(result[hookName] ?? []), hook];
  }
  return result as HooksSpec;
}

/** Whoever the process runs as owns it, where the spec names nobody. */
async function deviceSpec(node: CdiDeviceNode, user: RuntimeSpec['process']['user']): Promise<DeviceSpec> {
  const { path, type, major, minor, fileMode } = await withHostFacts(node);
  if (type === undefined) throw new Error('a device node without a type');
  return {
    path,
    type,
    ...(type === 'p' ? {} : { major: major ?? 0, minor: minor ?? 0 }),
    ...(fileMode === undefined ? {} : { fileMode }),
    uid: node.uid ?? user.uid,
    gid: node.gid ?? user.gid,
  };
}

/** Type and numbers are the host's, unless the spec gives them itself. */
async function withHostFacts(node: CdiDeviceNode): Promise<CdiDeviceNode> {
  const isComplete = node.type !== undefined && (node.type === 'p' || node.major !== undefined);
  const hostPath = node.hostPath ?? node.path;
  const refuse = (why: string, cause?: unknown) =>
    new CairnError('FailedPrecondition', `CDI device node ${node.path}: ${hostPath}: ${why}`, { step: STEP, cause });
  let host: Awaited<ReturnType<typeof lstat>>;
  try {
    host = await lstat(hostPath);
  } catch (error) {
    if (isComplete) return node;
    throw refuse(messageOf(error), error);
  }
  const fileMode = node.fileMode ?? Number(host.mode) & 0o7777;
  if (isComplete) return { ...node, fileMode };
  const type = host.isBlockDevice() ? 'b' : host.isCharacterDevice() ? 'c' : host.isFIFO() ? 'p' : undefined;
  if (type === undefined) throw refuse('is no device');
  if (node.type !== undefined && node.type !== type) throw refuse(`is of type ${type}, not ${node.type}`);
  return { ...node, fileMode, type, ...deviceNumbers(BigInt(host.rdev)) };
}

function deviceRule(node: DeviceSpec | undefined, access: string): DeviceRule[] {
  if (node === undefined || node.type === 'p' || access === '') return [];
  const { type, major, minor } = node;
  return [
    { allow: true, type, ...(major === undefined ? {} : { major }), ...(minor === undefined ? {} : { minor }), access },
  ];
}
