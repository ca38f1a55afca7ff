/**
 * Files of images at places of their own in a container: image volumes, and the paths that the container's own image declares
 * as VOLUME.
 *
 * An image volume is a read-only view of that image. All VOLUMEs of a container share one more writable snapshot of its image, of
 * which the declared directories are bind-mounted: they begin with what the image has there (copied up by the kernel, file by file,
 * once it is written to), are writable below a read-only root too, and stay out of the container's own layer and so of a commit.
 */
import { mkdir, readdir, readlink } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { CairnError, errnoOf, messageOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { Image } from '../images/index.ts';
import {
  AT_FDCWD,
  closeDescriptor,
  fchownat,
  isMountPoint,
  mkdirat,
  O_DIRECTORY,
  O_PATH,
  openat2,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
} from '../linux/index.ts';
import { type Pod, podRoot } from '../pods/index.ts';
import type { PrepareOptions, Snapshotter } from '../snapshotter/index.ts';
import type { ContainerConfig, ContainerMount } from './index.ts';
import type { ContainerRecord } from './records.ts';
import type { MountSpec } from './spec/oci.ts';

/** The kubelet looks for this word (cri-api's errors package). */
const IMAGE_VOLUME_FAILED = 'ImageVolumeMountFailed';
/** Below these the runtime mounts what is the kernel's. */
const NOT_FOR_VOLUMES = /^\/((proc|sys|dev)(\/.*)?)?$/;

/** A snapshot of a container's volumes and where it is mounted. */
interface VolumeSnapshot {
  readonly name: string;
  readonly target: string;
}

type Owner = Pick<ContainerRecord, 'id' | 'directory' | 'config' | 'ownVolumes'>;

function imageVolume({ id, directory }: Owner, index: number): VolumeSnapshot {
  return { name: `${id}-image-${index}`, target: join(directory, 'images', String(index)) };
}

function ownVolume({ id, directory }: Owner): VolumeSnapshot {
  return { name: `${id}-volumes`, target: join(directory, 'volumes') };
}

function volumeSnapshots(record: Owner): VolumeSnapshot[] {
  const images = record.config.mounts.flatMap(({ image }, index) => (image ? [imageVolume(record, index)] : []));
  return record.ownVolumes.length > 0 ? [...images, ownVolume(record)] : images;
}

/** The images that the configuration mounts, by name. NotFound. */
export function findVolumeImages(
  { mounts }: ContainerConfig,
  find: (name: string) => Image | undefined,
): ReadonlyMap<string, Image> {
  const found = new Map<string, Image>();
  for (const { image, containerPath } of mounts) {
    if (!image) continue;
    const known = find(image.name);
    if (!known) {
      const message = `${IMAGE_VOLUME_FAILED}: mount ${containerPath}: image ${image.name} is not here; pull it first`;
      throw new CairnError('NotFound', message, { step: 'container.volumes' });
    }
    found.set(image.name, known);
  }
  return found;
}

/** The VOLUMEs of the image that nothing else is mounted on. */
export function ownVolumePaths({ mounts }: ContainerConfig, { config }: Image): string[] {
  const taken = new Set(mounts.map((mount) => posix.resolve('/', mount.containerPath)));
  const paths = new Set(config.volumes.map((unsafePath) => posix.resolve('/', unsafePath)));
  return [...paths].filter((path) => !taken.has(path) && !NOT_FOR_VOLUMES.test(path));
}

/** How a writable snapshot for that pod is to be prepared. */
export function writableFor({ config }: Pod): PrepareOptions {
  return config.userNamespace ? { rootOwner: podRoot(config) } : {};
}

/** Makes the snapshots and mounts them. */
export async function makeVolumes(
  record: Owner,
  pod: Pod,
  image: Image,
  volumeImages: ReadonlyMap<string, Image>,
  snapshotter: Snapshotter,
): Promise<void> {
  for (const [index, mount] of record.config.mounts.entries()) {
    const volumeImage = mount.image && volumeImages.get(mount.image.name);
    if (!volumeImage) continue;
    await failpoint('container.volumes.image');
    await snapshotter.prepare(imageVolume(record, index).name, volumeImage.chainId, { view: true });
  }
  if (record.ownVolumes.length > 0) {
    await failpoint('container.volumes.own');
    await snapshotter.prepare(ownVolume(record).name, image.chainId, writableFor(pod));
  }
  await mountVolumes(record, pod.namespaces.user, snapshotter);
}

/** Mounts those that are not mounted. */
export async function mountVolumes(
  record: Owner,
  userNamespace: string | undefined,
  snapshotter: Snapshotter,
): Promise<void> {
  for (const { name, target } of volumeSnapshots(record)) {
    await mkdir(target, { recursive: true, mode: 0o711 });
    if (await isMountPoint(target)) continue;
    await failpoint('container.volumes.mount');
    await snapshotter.mount(name, target, { userNamespace });
  }
}

/** What the runtime is to mount: the image volumes, each in the place of its request, and the image's own VOLUMEs. */
export async function volumeMounts(
  record: Owner,
  pod: Pod,
): Promise<{ readonly images: ReadonlyMap<ContainerMount, MountSpec>; readonly own: readonly MountSpec[] }> {
  const images = new Map<ContainerMount, MountSpec>();
  for (const [index, mount] of record.config.mounts.entries()) {
    if (!mount.image) continue;
    const source = await subPathOf(mount, mount.image, imageVolume(record, index).target);
    images.set(mount, bind(mount.containerPath, source, ['ro', ...mount.options]));
  }
  const owner = podRoot(pod.config);
  const own: MountSpec[] = [];
  for (const path of record.ownVolumes) {
    own.push(bind(path, await ensurePath(ownVolume(record).target, path, owner), ['rw']));
  }
  return { images, own };
}

function bind(destination: string, source: string, options: readonly string[]): MountSpec {
  return {
    destination: posix.resolve('/', destination),
    type: 'bind',
    source,
    options: ['rbind', 'rprivate', ...options],
  };
}

async function subPathOf(
  mount: ContainerMount,
  image: { name: string; subPath: string },
  root: string,
): Promise<string> {
  if (image.subPath === '') return root;
  try {
    return await resolveIn(root, image.subPath);
  } catch (error) {
    const message = `${IMAGE_VOLUME_FAILED}: mount ${mount.containerPath}: ${image.subPath} in image ${image.name}`;
    const kind = errnoOf(error) === 'ENOENT' ? 'NotFound' : 'InvalidArgument';
    throw new CairnError(kind, `${message}: ${messageOf(error)}`, { step: 'container.volumes', cause: error });
  }
}

/** The directory in that root, made where it is missing. No symlink of the image's leads out of it. */
async function ensurePath(root: string, path: string, owner: { uid: number; gid: number }): Promise<string> {
  const names = path.split('/').filter(Boolean);
  try {
    for (const [index, name] of names.entries()) {
      const parent = openIn(root, names.slice(0, index).join('/') || '.');
      try {
        if (exists(root, names.slice(0, index + 1).join('/'))) continue;
        mkdirat(parent, name, 0o755);
        fchownat(parent, name, owner.uid, owner.gid);
      } finally {
        closeDescriptor(parent);
      }
    }
    return await resolveIn(root, names.join('/'));
  } catch (error) {
    const message = `VOLUME ${path} of the image: ${messageOf(error)}`;
    throw new CairnError('InvalidArgument', message, { step: 'container.volumes', cause: error });
  }
}

function openIn(root: string, path: string): number {
  const directory = openat2(AT_FDCWD, root, { flags: O_PATH | O_DIRECTORY, resolve: 0 });
  try {
    return openat2(directory, path, { flags: O_PATH, resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS });
  } finally {
    closeDescriptor(directory);
  }
}

function exists(root: string, path: string): boolean {
  try {
    closeDescriptor(openIn(root, path));
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** The path without symlinks: what the runtime would follow, it would follow on the host. */
async function resolveIn(root: string, path: string): Promise<string> {
  const descriptor = openIn(root, path);
  try {
    return await readlink(`/proc/self/fd/${descriptor}`);
  } finally {
    closeDescriptor(descriptor);
  }
}

/** No error when nothing is mounted. */
export async function unmountVolumes(record: Owner, snapshotter: Snapshotter): Promise<void> {
  for (const { target } of volumeSnapshots(record)) await snapshotter.unmount(target);
}

/** The same for a bundle that no row knows any more. */
export async function unmountOrphanVolumes(directory: string, snapshotter: Snapshotter): Promise<void> {
  const images = join(directory, 'images');
  for (const name of await namesIn(images)) await snapshotter.unmount(join(images, name));
  await snapshotter.unmount(join(directory, 'volumes'));
}

export async function removeVolumes(record: Owner, snapshotter: Snapshotter): Promise<void> {
  for (const { name } of volumeSnapshots(record)) await snapshotter.remove(name);
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
