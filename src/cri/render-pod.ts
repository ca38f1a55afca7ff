/** Pods as CRI shows them. */
import {
  NamespaceMode as CriNamespaceMode,
  type IPodSandbox,
  type IPodSandboxStatus,
  PodSandboxState,
} from '../generated/cri.js';
import type { NamespaceMode, Pod } from '../pods/index.ts';
import { long } from './render.ts';

const MODES: Readonly<Record<NamespaceMode, CriNamespaceMode>> = {
  pod: CriNamespaceMode.POD,
  container: CriNamespaceMode.CONTAINER,
  node: CriNamespaceMode.NODE,
};

function podState(pod: Pod): PodSandboxState {
  return pod.state === 'ready' ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

function common(pod: Pod) {
  const { metadata, labels, annotations, runtimeHandler } = pod.config;
  return {
    id: pod.id,
    metadata,
    state: podState(pod),
    createdAt: long(pod.createdAtNs),
    labels,
    annotations,
    runtimeHandler,
  };
}

export function renderPod(pod: Pod): IPodSandbox {
  return common(pod);
}

export function renderPodStatus(pod: Pod): IPodSandboxStatus {
  const [ip = '', ...more] = pod.ips;
  const { namespaces, userNamespace } = pod.config;
  const { network, pid, ipc } = namespaces;
  const options = {
    ...{ network: MODES[network], pid: MODES[pid], ipc: MODES[ipc] },
    usernsOptions: { mode: userNamespace ? CriNamespaceMode.POD : CriNamespaceMode.NODE, ...userNamespace },
  };
  return {
    ...common(pod),
    network: { ip, additionalIps: more.map((address) => ({ ip: address })) },
    linux: { namespaces: { options } },
  };
}
