/** Which namespaces a container joins, gets of its own, or shares with the host. */
import { CairnError } from '../../base/errors.ts';
import type { NamespaceSpec } from './oci.ts';
import type { SpecInput } from './spec-input.ts';

export function buildNamespaces(input: SpecInput): NamespaceSpec[] {
  const { network, ipc, uts, user } = input.pod.namespaces;
  const namespaces: NamespaceSpec[] = [{ type: 'mount' }];
  if (user !== undefined) namespaces.push({ type: 'user', path: user });
  if (network !== undefined) namespaces.push({ type: 'network', path: network });
  if (ipc !== undefined) namespaces.push({ type: 'ipc', path: ipc });
  if (uts !== undefined) namespaces.push({ type: 'uts', path: uts });
  const pid = pidNamespace(input);
  if (pid !== undefined) namespaces.push(pid);
  // On v1 the cgroup mount shows each controller at the container's own directory without a namespace.
  if (input.host.cgroupVersion === 2 && !input.config.security.privileged) namespaces.push({ type: 'cgroup' });
  return namespaces;
}

function pidNamespace(input: SpecInput): NamespaceSpec | undefined {
  const mode = input.config.security.pid.mode;
  if (mode === 'node') return undefined;
  if (mode === 'container') return { type: 'pid' };
  const path = mode === 'pod' ? input.pod.namespaces.pid : input.targetPidNamespace;
  if (path !== undefined) return { type: 'pid', path };
  throw new CairnError(
    'InvalidArgument',
    mode === 'pod'
      ? `the container wants the PID namespace of pod ${input.pod.id}, which does not share one`
      : `the container wants the PID namespace of container ${input.config.security.pid.targetId}, which has none`,
    { step: 'container.spec' },
  );
}
