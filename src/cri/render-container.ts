/** Containers as CRI shows them. */
import type { Container, ContainerMount, ContainerUser, Resources } from '../containers/index.ts';
import {
  ContainerState,
  type IContainer,
  type IContainerStatus,
  type ILinuxContainerResources,
  type ILinuxContainerUser,
  type IMount,
  MountPropagation,
  type Signal,
} from '../generated/cri.js';
import { long } from './render.ts';
import { criSignal } from './signals.ts';

const STATES: Readonly<Record<Container['state'], ContainerState>> = {
  creating: ContainerState.CONTAINER_UNKNOWN,
  created: ContainerState.CONTAINER_CREATED,
  running: ContainerState.CONTAINER_RUNNING,
  exited: ContainerState.CONTAINER_EXITED,
};

const PROPAGATIONS: Readonly<Record<ContainerMount['propagation'], MountPropagation>> = {
  private: MountPropagation.PROPAGATION_PRIVATE,
  rslave: MountPropagation.PROPAGATION_HOST_TO_CONTAINER,
  rshared: MountPropagation.PROPAGATION_BIDIRECTIONAL,
};

/**
 * For lists of statuses: the kubelet with evented PLEG takes the first one of a name for its latest attempt, and would
 * else create that attempt again and again.
 */
export function newestFirst(one: Container, other: Container): number {
  return Number(other.createdAtNs - one.createdAtNs) || other.config.attempt - one.config.attempt;
}

function common(container: Container) {
  const { id, state, config, imageId, createdAtNs } = container;
  return {
    id,
    metadata: { name: config.name, attempt: config.attempt },
    state: STATES[state],
    createdAt: long(createdAtNs),
    imageId,
    labels: config.labels,
    annotations: config.annotations,
  };
}

export function renderContainer(container: Container): IContainer {
  const { image, userSpecifiedImage } = container.config;
  return {
    ...common(container),
    podSandboxId: container.podId,
    image: { image, userSpecifiedImage },
    imageRef: container.imageId,
  };
}

/** `names`: the image's first tag and digest, where it still has them. */
export function renderContainerStatus(
  container: Container,
  names: { readonly name: string; readonly reference: string },
): IContainerStatus {
  const { config } = container;
  return {
    ...common(container),
    image: { image: names.name, userSpecifiedImage: config.userSpecifiedImage },
    imageRef: names.reference,
    startedAt: long(container.startedAtNs),
    finishedAt: long(container.finishedAtNs),
    exitCode: container.exitCode,
    reason: container.reason,
    message: container.message,
    logPath: container.logPath,
    mounts: config.mounts.map(renderMount),
    resources: { linux: renderResources(container.resources) },
    user: container.user && { linux: renderUser(container.user) },
    stopSignal: criSignal(container.stopSignal) as Signal,
  };
}

function renderUser({ uid, gid, groups }: ContainerUser): ILinuxContainerUser {
  return { uid, gid, supplementalGroups: groups };
}

function renderMount(mount: ContainerMount): IMount {
  return {
    containerPath: mount.containerPath,
    hostPath: mount.hostPath,
    image: mount.image && { image: mount.image.name },
    imageSubPath: mount.image?.subPath ?? '',
    mountOptions: mount.options,
    ...(mount.idMappings && { uidMappings: mount.idMappings.uids, gidMappings: mount.idMappings.gids }),
    readonly: mount.readonly,
    recursiveReadOnly: mount.recursiveReadonly,
    propagation: PROPAGATIONS[mount.propagation],
    selinuxRelabel: mount.selinuxRelabel,
  };
}

function renderResources(resources: Resources): ILinuxContainerResources {
  return {
    cpuPeriod: resources.cpuPeriod,
    cpuQuota: resources.cpuQuota,
    cpuShares: resources.cpuShares,
    memoryLimitInBytes: resources.memoryLimitBytes,
    memorySwapLimitInBytes: resources.memorySwapLimitBytes,
    oomScoreAdj: resources.oomScoreAdj,
    cpusetCpus: resources.cpusetCpus,
    cpusetMems: resources.cpusetMems,
    hugepageLimits: resources.hugepageLimits.map(({ pageSize, limitBytes }) => ({ pageSize, limit: limitBytes })),
    unified: resources.unified,
  };
}
