/**
 * CHECK of the networks that ready pods were found with at start: an interface, an address or a rule may have gone while
 * the daemon was away. One at a time, in the background: nobody waits for it, and it only says what it found.
 */
import { isCairnError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { NetworkService } from '../network/index.ts';
import { attachRequest } from './network-request.ts';
import type { PodRecord } from './records.ts';

export async function checkNetworks(options: {
  /** As they were when the check began. */
  readonly pods: readonly PodRecord[];
  readonly network: NetworkService;
  readonly log: Logger;
  /** False for a pod that was stopped meanwhile. */
  readonly isStillReady: (id: string) => boolean;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { pods, network, log, isStillReady, signal } = options;
  for (const pod of pods) {
    const netns = pod.namespaces.network;
    if (signal.aborted) return;
    if (netns === undefined || !isStillReady(pod.id)) continue;
    try {
      await network.check(attachRequest(pod, netns), signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!isStillReady(pod.id)) continue;
      if (!isCairnError(error)) throw error;
      const { name, namespace } = pod.config.metadata;
      const message = `the network of a pod is not as it was made; deleting the pod makes a new one: ${messageOf(error)}`;
      log.warn({ pod: pod.id, name, namespace, reason: messageOf(error) }, message);
    }
  }
}
