/** NamespaceOption and what belongs to it. */
import { isDeepStrictEqual } from 'node:util';
import type { NamespaceOption } from '../generated/cri.js';
import type { NamespaceMode, PodConfig } from '../pods/index.ts';
import { invalid, oneOf, required } from './fields.ts';
import { parseUserNamespace } from './parse-user-namespace.ts';

type Mode = NamespaceMode | 'target';

/** enum NamespaceMode. */
const MODES: Readonly<Record<number, Mode>> = { 0: 'pod', 1: 'container', 2: 'node', 3: 'target' };
const ALL_POD = { network: 0, pid: 0, ipc: 0, targetId: '', usernsOptions: null } as const;

export interface PodNamespaceModes {
  readonly network: NamespaceMode;
  readonly pid: NamespaceMode;
  readonly ipc: NamespaceMode;
}

/** Absent options are the message's zero values: one namespace of each kind for the pod. */
export function parsePodNamespaces(field: string, options: NamespaceOption | null): PodNamespaceModes {
  const { network, pid, ipc, targetId } = options ?? ALL_POD;
  if (targetId !== '') throw invalid(`${field}.target_id`, 'is for containers');
  const pidMode = oneOf(`${field}.pid`, pid, MODES);
  if (pidMode === 'target') throw invalid(`${field}.pid`, 'TARGET is for containers');
  return {
    network: podOrNode(`${field}.network`, network),
    pid: pidMode,
    ipc: podOrNode(`${field}.ipc`, ipc),
  };
}

export interface PidNamespace {
  readonly mode: Mode;
  readonly targetId: string;
}

/**
 * A container takes part in its pod's network and IPC whatever it says; only asking for more than the pod has is
 * refused. Its PID namespace is its own choice.
 */
export function parseContainerNamespaces(
  field: string,
  options: NamespaceOption | null,
  { namespaces: pod, userNamespace }: Pick<PodConfig, 'namespaces' | 'userNamespace'>,
): PidNamespace {
  const { network, pid, ipc, targetId, usernsOptions } = options ?? ALL_POD;
  if (
    usernsOptions &&
    !isDeepStrictEqual(parseUserNamespace(`${field}.userns_options`, usernsOptions), userNamespace)
  ) {
    throw invalid(`${field}.userns_options`, "is not the pod's: a pod has one user namespace, or none");
  }
  for (const [kind, mode] of [['network', network] as const, ['ipc', ipc] as const]) {
    if (podOrNode(`${field}.${kind}`, mode) === 'node' && pod[kind] !== 'node') {
      throw invalid(`${field}.${kind}`, "NODE, but the pod's is not the node's");
    }
  }
  const mode = oneOf(`${field}.pid`, pid, MODES);
  if (mode === 'target') return { mode, targetId: required(`${field}.target_id`, targetId) };
  if (targetId !== '') throw invalid(`${field}.target_id`, 'is only allowed with TARGET');
  return { mode, targetId: '' };
}

function podOrNode(field: string, value: number): 'pod' | 'node' {
  const mode = oneOf(field, value, MODES);
  if (mode !== 'pod' && mode !== 'node') throw invalid(field, 'must be POD or NODE');
  return mode;
}
