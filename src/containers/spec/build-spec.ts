/** The OCI runtime spec of a container: a pure function of what was asked for and what the host allows. */
import { ociMappings } from '../../pods/index.ts';
import { buildMounts } from './mounts.ts';
import { buildNamespaces } from './namespaces.ts';
import type { DeviceRule, RuntimeSpec } from './oci.ts';
import { buildProcess } from './process.ts';
import { buildResources } from './resources.ts';
import { hiddenPaths, seccompProfile } from './security.ts';
import type { SpecInput } from './spec-input.ts';

const OCI_VERSION = '1.0.2';

export function buildSpec(input: SpecInput): RuntimeSpec {
  const { config, host, pod } = input;
  const { security } = config;
  const process = buildProcess(input);
  const seccomp = seccompProfile(security, host, process.capabilities.bounding, input.localhostSeccomp);
  return {
    ociVersion: OCI_VERSION,
    process,
    root: { path: input.rootPath, readonly: security.readonlyRootfs },
    mounts: buildMounts(input),
    annotations: {
      // The keys by which hooks and sandboxed runtimes tell a pod's containers apart. The caller's annotations stay out:
      // runtimes act on some (runc sets `org.systemd.property.*` on the unit), and whoever writes a pod could write those.
      'io.kubernetes.cri.container-type': 'container',
      'io.kubernetes.cri.container-name': config.name,
      'io.kubernetes.cri.sandbox-id': pod.id,
      'io.kubernetes.cri.sandbox-name': pod.config.metadata.name,
      'io.kubernetes.cri.sandbox-namespace': pod.config.metadata.namespace,
      'io.kubernetes.cri.sandbox-uid': pod.config.metadata.uid,
    },
    linux: {
      namespaces: buildNamespaces(input),
      ...(pod.config.userNamespace && ociMappings(pod.config.userNamespace)),
      cgroupsPath: input.cgroupsPath,
      devices: input.devices.nodes,
      resources: buildResources(config.resources, deviceRules(input), host),
      ...hiddenPaths(security),
      ...(input.rootfsPropagation === undefined ? {} : { rootfsPropagation: input.rootfsPropagation }),
      ...(seccomp === undefined ? {} : { seccomp }),
    },
  };
}

/** Nothing but the runtime's own few devices and those asked for; a privileged container may use all. */
function deviceRules(input: SpecInput): DeviceRule[] {
  if (input.config.security.privileged) return [{ allow: true, access: 'rwm' }];
  return [{ allow: false, access: 'rwm' }, ...input.devices.rules];
}
