/**
 * A container's bundle: `STATE/containers/ID/{config.json,rootfs/}`.
 *
 * The spec lives here and not in the row: it is made of things that end with the boot (paths of pinned namespaces, the cgroup), a
 * container of an earlier boot can't be started any more, and with a seccomp profile it is 15 KB that every commit would write. It
 * is complete before the row says `created`, and an update before the start rewrites it.
 */
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, errnoOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { ContainerRecord } from './records.ts';
import type { RuntimeSpec } from './spec/oci.ts';

export function rootfsPath(directory: string): string {
  return join(directory, 'rootfs');
}

export async function makeBundle(directory: string): Promise<void> {
  await failpoint('container.bundle.make');
  // Users other than root must be able to search it once they are in the container's user namespace.
  await mkdir(rootfsPath(directory), { recursive: true, mode: 0o711 });
}

export async function writeSpec(directory: string, spec: RuntimeSpec): Promise<void> {
  await failpoint('container.spec.write');
  await writeFile(join(directory, 'config.json'), JSON.stringify(spec), { mode: 0o600 });
}

/** Whole or not at all: the container may be started from it at any time. */
export async function rewriteSpec(directory: string, spec: RuntimeSpec): Promise<void> {
  const path = join(directory, 'config.json');
  await writeFile(`${path}.tmp`, JSON.stringify(spec), { mode: 0o600 });
  await failpoint('container.spec.rename');
  await rename(`${path}.tmp`, path);
}

/** NotFound when it went with the boot it belonged to. */
export async function readSpec({ id, directory }: ContainerRecord): Promise<RuntimeSpec> {
  try {
    return JSON.parse(await readFile(join(directory, 'config.json'), 'utf8')) as RuntimeSpec;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    throw new CairnError('NotFound', `container ${id} has no runtime spec any more`, { step: 'container.spec' });
  }
}

/** An overlay is a file system of its own, whatever lies below it. */
export async function isRootfsMounted(directory: string): Promise<boolean> {
  try {
    const [inside, outside] = await Promise.all([stat(rootfsPath(directory)), stat(directory)]);
    return inside.dev !== outside.dev;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

export async function removeBundle(directory: string): Promise<void> {
  await failpoint('container.bundle.remove');
  await rm(directory, { recursive: true, force: true });
}
