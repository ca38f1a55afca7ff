/** RunPodSandbox, Stop-, Remove-, -Status, List- and its stream. */
import {
  type IContainerStatus,
  type PodSandboxFilter,
  PodSandboxState,
  type RuntimeService,
} from '../generated/cri.js';
import type { Pod, PodFilter } from '../pods/index.ts';
import type { Handlers } from '../rpc/index.ts';
import { oneOf } from './fields.ts';
import { filterId, find, tryFind } from './ids.ts';
import type { CriContext } from './index.ts';
import { parsePod } from './parse-pod.ts';
import { parseResources } from './parse-resources.ts';
import { portions } from './portions.ts';
import { now } from './render.ts';
import { newestFirst, renderContainerStatus } from './render-container.ts';
import { renderPod, renderPodStatus } from './render-pod.ts';
import { checkHandler, checkUserNamespaces } from './runtime-handlers.ts';
import { podInfo } from './verbose-info.ts';

/** enum PodSandboxState. */
const STATES: Readonly<Record<number, NonNullable<PodFilter['state']>>> = {
  [PodSandboxState.SANDBOX_READY]: 'ready',
  [PodSandboxState.SANDBOX_NOTREADY]: 'notready',
};

export function sandboxHandlers(context: CriContext): Handlers<typeof RuntimeService> {
  const { pods, containers } = context;
  return {
    async runPodSandbox({ config, runtimeHandler }, { signal }) {
      checkHandler('runtime_handler', runtimeHandler, context);
      const parsed = parsePod(config, runtimeHandler, context);
      const field = 'config.linux.security_context.namespace_options.userns_options';
      if (parsed.userNamespace) checkUserNamespaces(field, runtimeHandler, context);
      const pod = await pods.run(parsed, signal);
      return { podSandboxId: pod.id };
    },

    async updatePodSandboxResources({ podSandboxId, resources, overhead }) {
      const { id } = find(pods, 'pod_sandbox_id', podSandboxId);
      const update = {
        resources: parseResources('resources', resources),
        overhead: parseResources('overhead', overhead),
      };
      await pods.updateResources(id, update);
      return {};
    },

    async stopPodSandbox({ podSandboxId }) {
      await pods.stop(tryFind(pods, 'pod_sandbox_id', podSandboxId)?.id ?? podSandboxId);
      return {};
    },

    async removePodSandbox({ podSandboxId }) {
      await pods.remove(tryFind(pods, 'pod_sandbox_id', podSandboxId)?.id ?? podSandboxId);
      return {};
    },

    podSandboxStatus({ podSandboxId, verbose }) {
      const pod = find(pods, 'pod_sandbox_id', podSandboxId);
      const members = containers.list({ podId: pod.id }).toSorted(newestFirst);
      return {
        status: renderPodStatus(pod),
        containersStatuses: members.map((one): IContainerStatus => renderContainerStatus(one, context.imageNames(one))),
        timestamp: now(),
        info: verbose ? podInfo(pod, members, { handler: pod.config.runtimeHandler || context.defaultRuntime }) : {},
      };
    },

    listPodSandbox({ filter }) {
      return { items: selectPods(filter, context).map(renderPod) };
    },

    async *streamPodSandboxes({ filter }) {
      for (const podSandboxes of portions(selectPods(filter, context), renderPod)) yield { podSandboxes };
    },
  };
}

function selectPods(filter: PodSandboxFilter | null, { pods }: CriContext): Pod[] {
  const id = filter?.id ? filterId(pods, filter.id) : undefined;
  if (filter?.id && id === undefined) return [];
  const selected = pods.list({
    ...(id !== undefined && { id }),
    ...(filter?.state && { state: oneOf('filter.state', filter.state.state, STATES) }),
    labels: filter?.labelSelector ?? {},
  });
  return selected.filter(({ state }) => state !== 'creating');
}
