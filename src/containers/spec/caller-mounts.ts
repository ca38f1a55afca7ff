/** The mounts that the caller asked for: sources resolved (and made when missing), propagation checked against the host. */
import { mkdir, realpath } from 'node:fs/promises';
import { posix } from 'node:path';
import { CairnError, errnoOf, messageOf } from '../../base/errors.ts';
import { type MountEntry, mountInfo } from '../../linux/index.ts';
import { ociMappings } from '../../pods/index.ts';
import type { ContainerConfig, ContainerMount } from '../index.ts';
import type { MountSpec } from './oci.ts';

export interface ResolvedMounts {
  readonly mounts: readonly MountSpec[];
  /** What the root mount needs so that the strongest of these propagations reaches the container. */
  readonly rootfsPropagation: 'rslave' | 'rshared' | undefined;
}

/** `images`: the mounts of the configuration that are made already, because they come from images. */
export async function resolveMounts(
  config: ContainerConfig,
  images: ReadonlyMap<ContainerMount, MountSpec>,
): Promise<ResolvedMounts> {
  const propagations = new Set(config.mounts.map((mount) => mount.propagation));
  // The mount table is only read when somebody needs to know.
  const table = propagations.has('rslave') || propagations.has('rshared') ? await mountInfo() : [];
  const mounts: MountSpec[] = [];
  for (const mount of config.mounts) {
    const image = images.get(mount);
    if (image) {
      mounts.push(image);
      continue;
    }
    const source = await resolveSource(mount);
    checkPropagation(mount, source, table);
    mounts.push({
      destination: posix.resolve('/', mount.containerPath),
      type: 'bind',
      source,
      options: [
        'rbind',
        mount.propagation === 'private' ? 'rprivate' : mount.propagation,
        accessOf(mount),
        ...mount.options,
      ],
      ...(mount.idMappings && ociMappings(mount.idMappings)),
    });
  }
  const rootfsPropagation = propagations.has('rshared') ? 'rshared' : propagations.has('rslave') ? 'rslave' : undefined;
  return { mounts, rootfsPropagation };
}

function accessOf(mount: ContainerMount): string {
  if (!mount.readonly) return 'rw';
  return mount.recursiveReadonly ? 'rro' : 'ro';
}

/** A missing source becomes a directory: what the kubelet's hostPath without a type relies on. */
async function resolveSource(mount: ContainerMount): Promise<string> {
  try {
    try {
      return await realpath(mount.hostPath);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await mkdir(mount.hostPath, { recursive: true, mode: 0o755 });
      return await realpath(mount.hostPath);
    }
  } catch (error) {
    const message = `mount ${mount.containerPath}: host path ${mount.hostPath}: ${messageOf(error)}`;
    throw new CairnError('InvalidArgument', message, { step: 'container.mounts', cause: error });
  }
}

function checkPropagation(mount: ContainerMount, source: string, table: readonly MountEntry[]): void {
  if (mount.propagation === 'private') return;
  const holder = mountOf(source, table);
  const has = (kind: string) => holder?.propagation.some((field) => field.startsWith(`${kind}:`)) ?? false;
  if (has('shared') || (mount.propagation === 'rslave' && has('master'))) return;
  const needed = mount.propagation === 'rshared' ? 'a shared' : 'a shared or slave';
  throw new CairnError(
    'FailedPrecondition',
    `mount ${mount.containerPath}: propagation ${mount.propagation} needs ${needed} mount, but ${source} lies on ` +
      `${holder?.target ?? '/'}, which is private`,
    { step: 'container.mounts' },
  );
}

/** The mount that `path` lies on: the longest target above it, the latest of several. */
function mountOf(path: string, table: readonly MountEntry[]): MountEntry | undefined {
  let best: MountEntry | undefined;
  for (const entry of table) {
    const above = entry.target === '/' || path === entry.target || path.startsWith(`${entry.target}/`);
    if (above && entry.target.length >= (best?.target.length ?? 0)) best = entry;
  }
  return best;
}
