/** A connection to a port inside a pod, as port-forward needs it. No process is started for it. */
import type { Socket } from 'node:net';
import { abortError, CairnError } from '../base/errors.ts';
import { connectInNamespace } from '../linux/index.ts';
import type { Pod } from './index.ts';

/** A listener that drops what comes in would leave us waiting for two minutes. */
const CONNECT_MS_MAX = 30_000;

/** FailedPrecondition when the pod is not ready or nothing answers on its loopback addresses. */
export async function connectToPod(pod: Pod, port: number, signal?: AbortSignal): Promise<Socket> {
  if (pod.state !== 'ready') {
    throw new CairnError('FailedPrecondition', `pod sandbox ${pod.id} is ${pod.state}, not ready`, {
      step: 'pod.connect',
    });
  }
  const deadline = AbortSignal.timeout(CONNECT_MS_MAX);
  const either = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
  try {
    return await connectInNamespace(pod.namespaces.network, port, either);
  } catch (error) {
    throw signal?.aborted ? abortError(signal, 'pod.connect') : error;
  }
}
