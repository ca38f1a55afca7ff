/** NamespaceOption and what belongs to it. */
import type { NamespaceOption, UserNamespace } from '../generated/cri.js';
import type { NamespaceMode } from '../pods/index.ts';
import { invalid, oneOf, required, unsupported } from './fields.ts';

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
  const { network, pid, ipc, targetId, usernsOptions } = options ?? ALL_POD;
  checkUserNamespace(`${field}.userns_options`, usernsOptions);
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
  pod: PodNamespaceModes,
): PidNamespace {
  const { network, pid, ipc, targetId, usernsOptions } = options ?? ALL_POD;
  checkUserNamespace(`${field}.userns_options`, usernsOptions);
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

/** Absent means none, as callers older than user namespaces expect. */
function checkUserNamespace(field: string, userns: UserNamespace | null): void {
  if (!userns) return;
  const mode = oneOf(`${field}.mode`, userns.mode, MODES);
  if (mode === 'pod') throw unsupported(field, 'user namespaces are not supported yet');
  if (mode !== 'node') throw invalid(`${field}.mode`, 'must be POD or NODE');
  if (userns.uids.length + userns.gids.length > 0) throw invalid(field, 'NODE has no ID mappings');
}
