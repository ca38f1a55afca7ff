/** GetContainerEvents. */

import type { LifeEvent, LifeEventKind } from '../events/index.ts';
import { ContainerEventType, type IContainerEventResponse, type RuntimeService } from '../generated/cri.js';
import type { Handlers } from '../rpc/index.ts';
import type { CriContext } from './index.ts';
import { long } from './render.ts';
import { newestFirst, renderContainerStatus } from './render-container.ts';
import { renderPodStatus } from './render-pod.ts';

const KINDS: Readonly<Record<LifeEventKind, ContainerEventType>> = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
};

export function eventHandlers(context: CriContext): Handlers<typeof RuntimeService> {
  return {
    async *getContainerEvents(_request, { signal }) {
      for await (const event of context.events.subscribe(signal)) yield renderEvent(event, context);
    },
  };
}

function renderEvent({ id, kind, atNs, pod, containers }: LifeEvent, context: CriContext): IContainerEventResponse {
  return {
    containerId: id,
    containerEventType: KINDS[kind],
    createdAt: long(atNs),
    podSandboxStatus: renderPodStatus(pod),
    containersStatuses: containers
      .toSorted(newestFirst)
      .map((one) => renderContainerStatus(one, context.imageNames(one))),
  };
}
