/** Mount: a directory or file of the host, or an image's files, placed into a container. */
import type { ContainerMount } from '../containers/index.ts';
import type { ImageSpec, Mount } from '../generated/cri.js';
import { absolutePath, invalid, noNul, oneOf, required, unsupported } from './fields.ts';
import { parseIdMappings } from './parse-user-namespace.ts';

/** enum MountPropagation. */
const PROPAGATIONS: Readonly<Record<number, ContainerMount['propagation']>> = {
  0: 'private',
  1: 'rslave',
  2: 'rshared',
};

/** Options that take something away from a mount, or choose how times are kept. Whoever writes a pod may not add rights. */
const OPTIONS: readonly string[] = [
  'nodev',
  'noexec',
  'nosuid',
  'nosymfollow',
  'noatime',
  'nodiratime',
  'relatime',
  'strictatime',
];

/** What the pod that the container is for has to say to its mounts. */
export interface MountFacts {
  readonly recursiveReadOnlyMounts: boolean;
  /** The pod has a user namespace of its own. */
  readonly userNamespace: boolean;
}

export function parseMount(field: string, mount: Mount, pod: MountFacts): ContainerMount {
  const propagation = oneOf(`${field}.propagation`, mount.propagation, PROPAGATIONS);
  const shared = {
    containerPath: noNul(`${field}.container_path`, required(`${field}.container_path`, mount.containerPath)),
    options: mount.mountOptions.map((option, index) => parseOption(`${field}.mount_options[${index}]`, option)),
    propagation,
    selinuxRelabel: mount.selinuxRelabel,
  };
  if (mount.image && mount.image.image !== '') return { ...shared, ...parseImageMount(field, mount, mount.image) };
  if (mount.imageSubPath !== '') throw invalid(`${field}.image_sub_path`, 'needs an image');
  if (mount.recursiveReadOnly) checkRecursiveReadOnly(field, mount, propagation, pod);
  return {
    ...shared,
    hostPath: absolutePath(`${field}.host_path`, required(`${field}.host_path`, mount.hostPath)),
    image: undefined,
    readonly: mount.readonly,
    recursiveReadonly: mount.recursiveReadOnly,
    idMappings: parseMountMappings(field, mount, pod),
  };
}

type ImageMount = Pick<ContainerMount, 'hostPath' | 'image' | 'readonly' | 'recursiveReadonly' | 'idMappings'>;

/** Nothing can be mounted below an image's files, so they are read-only throughout, and their owners are mapped by Cairn. */
function parseImageMount(field: string, mount: Mount, image: ImageSpec): ImageMount {
  if (mount.hostPath !== '') throw invalid(`${field}.host_path`, 'must be empty with an image');
  if (mount.propagation !== 0) throw invalid(`${field}.propagation`, 'must be private with an image');
  const pathField = `${field}.image_sub_path`;
  const subPath = noNul(pathField, mount.imageSubPath);
  if (subPath.startsWith('/') || subPath.split('/').includes('..')) {
    throw invalid(pathField, `${JSON.stringify(subPath)} is not below the root of the image`);
  }
  return {
    hostPath: '',
    image: { name: image.image, subPath },
    readonly: true,
    recursiveReadonly: mount.recursiveReadOnly,
    idMappings: undefined,
  };
}

function parseOption(field: string, option: string): string {
  if (OPTIONS.includes(option)) return option;
  throw invalid(field, `${JSON.stringify(option)} is not one of ${OPTIONS.join(', ')}`);
}

function checkRecursiveReadOnly(field: string, mount: Mount, propagation: string, pod: MountFacts): void {
  if (!mount.readonly) throw invalid(`${field}.recursive_read_only`, 'needs readonly');
  if (propagation !== 'private') throw invalid(`${field}.recursive_read_only`, 'needs private propagation');
  // The kubelet looks for this word (cri-api's errors package).
  if (!pod.recursiveReadOnlyMounts) {
    throw unsupported('RROUnsupported', `${field}.recursive_read_only: the pod's runtime or the kernel can't do that`);
  }
}

function parseMountMappings(field: string, mount: Mount, pod: MountFacts): ContainerMount['idMappings'] {
  const { uidMappings, gidMappings } = mount;
  if (uidMappings.length + gidMappings.length === 0) return undefined;
  if (!pod.userNamespace) throw invalid(`${field}.uidMappings`, 'the pod has no user namespace');
  return {
    uids: parseIdMappings(`${field}.uidMappings`, uidMappings),
    gids: parseIdMappings(`${field}.gidMappings`, gidMappings),
  };
}
