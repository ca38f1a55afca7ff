/** CreateContainer, Start-, Stop-, Remove-, List- and its stream, -Status; ReopenContainerLog. */
import type { Container, ContainerFilter } from '../containers/index.ts';
import { ContainerState, type ContainerFilter as CriFilter, type RuntimeService } from '../generated/cri.js';
import type { Handlers } from '../rpc/index.ts';
import { integer, invalid, oneOf, required } from './fields.ts';
import { filterId, find, tryFind } from './ids.ts';
import type { CriContext } from './index.ts';
import { parseContainer } from './parse-container.ts';
import { parseResources } from './parse-resources.ts';
import { portions } from './portions.ts';
import { renderContainer, renderContainerStatus } from './render-container.ts';
import { handlerNamed } from './runtime-handlers.ts';
import { containerInfo } from './verbose-info.ts';

/** enum ContainerState. No container that is listed is in state UNKNOWN. */
const STATES: Readonly<Record<number, NonNullable<ContainerFilter['state']> | 'unknown'>> = {
  [ContainerState.CONTAINER_CREATED]: 'created',
  [ContainerState.CONTAINER_RUNNING]: 'running',
  [ContainerState.CONTAINER_EXITED]: 'exited',
  [ContainerState.CONTAINER_UNKNOWN]: 'unknown',
};

/** What a timer can count; some callers say "for ever" with the largest number that they have. */
export const SECONDS_MAX = 2_000_000;

export function containerHandlers(context: CriContext): Handlers<typeof RuntimeService> {
  const { pods, containers, defaultRuntime } = context;
  const handlerOf = ({ podId }: Container) =>
    tryFind(pods, 'pod_sandbox_id', podId)?.config.runtimeHandler || defaultRuntime;
  return {
    async createContainer({ podSandboxId, config }, { signal }) {
      // The sandbox's configuration of the request is a copy of what we have.
      const pod = find(pods, 'pod_sandbox_id', podSandboxId);
      const handler = handlerNamed(pod.config.runtimeHandler, context);
      const recursiveReadOnlyMounts = handler?.features.recursiveReadOnlyMounts ?? false;
      const parsed = parseContainer(config, { config: pod.config, recursiveReadOnlyMounts }, context);
      return { containerId: (await containers.create(pod.id, parsed, signal)).id };
    },

    async startContainer({ containerId }, { signal }) {
      await containers.start(find(containers, 'container_id', containerId).id, signal);
      return {};
    },

    async stopContainer({ containerId, timeout }, { signal }) {
      const range = { min: 0, max: Number.MAX_VALUE };
      const seconds = Math.min(integer('timeout', timeout, range), SECONDS_MAX);
      const id = tryFind(containers, 'container_id', containerId)?.id ?? containerId;
      await containers.stop(id, seconds, signal);
      return {};
    },

    async removeContainer({ containerId }) {
      await containers.remove(tryFind(containers, 'container_id', containerId)?.id ?? containerId);
      return {};
    },

    listContainers({ filter }) {
      return { containers: selectContainers(filter, context).map(renderContainer) };
    },

    async *streamContainers({ filter }) {
      for (const some of portions(selectContainers(filter, context), renderContainer)) yield { containers: some };
    },

    async containerStatus({ containerId, verbose }) {
      const container = find(containers, 'container_id', containerId);
      return {
        status: renderContainerStatus(container, context.imageNames(container)),
        info: verbose ? await containerInfo(container, containers, { handler: handlerOf(container) }) : {},
      };
    },

    async updateContainerResources({ containerId, linux, windows }) {
      if (windows) throw invalid('windows', 'this is a Linux host');
      const { id } = find(containers, 'container_id', containerId);
      await containers.updateResources(id, parseResources('linux', required('linux', linux)));
      return {};
    },

    async reopenContainerLog({ containerId }) {
      await containers.reopenLog(find(containers, 'container_id', containerId).id);
      return {};
    },
  };
}

function selectContainers(filter: CriFilter | null, { containers, pods }: CriContext): Container[] {
  const id = filter?.id ? filterId(containers, filter.id) : undefined;
  const podId = filter?.podSandboxId ? filterId(pods, filter.podSandboxId) : undefined;
  const state = filter?.state ? oneOf('filter.state', filter.state.state, STATES) : undefined;
  const nothing = (filter?.id && id === undefined) || (filter?.podSandboxId && podId === undefined);
  if (nothing || state === 'unknown') return [];
  const selected = containers.list({
    ...(id !== undefined && { id }),
    ...(podId !== undefined && { podId }),
    ...(state !== undefined && { state }),
    labels: filter?.labelSelector ?? {},
  });
  return selected.filter((one) => one.state !== 'creating');
}
