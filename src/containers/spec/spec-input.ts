/**
 * Everything a runtime spec is made of. What needs the file system was looked up before (the user, devices, mount
 * sources, a localhost seccomp profile), so that building the spec is a pure function.
 */
import type { ImageConfig } from '../../images/index.ts';
import type { Pod } from '../../pods/index.ts';
import type { ContainerConfig } from '../index.ts';
import type { HostFacts } from './host-facts.ts';
import type { DeviceRule, DeviceSpec, MountSpec, RlimitSpec, SeccompSpec } from './oci.ts';
import type { ResolvedUser } from './user.ts';

export interface SpecInput {
  readonly pod: Pod;
  readonly config: ContainerConfig;
  readonly image: ImageConfig;
  readonly user: ResolvedUser;
  readonly host: HostFacts;
  /** Where the root filesystem will be mounted. */
  readonly rootPath: string;
  readonly cgroupsPath: string;
  /** Device nodes to make besides the runtime's own, and the cgroup rules for them. */
  readonly devices: { readonly nodes: readonly DeviceSpec[]; readonly rules: readonly DeviceRule[] };
  /** The caller's mounts, sources resolved. */
  readonly mounts: readonly MountSpec[];
  /** The image's VOLUMEs, sources resolved. */
  readonly ownVolumes: readonly MountSpec[];
  readonly rootfsPropagation: 'rslave' | 'rshared' | undefined;
  /** The PID namespace of the target container, where the configuration names one. */
  readonly targetPidNamespace: string | undefined;
  readonly localhostSeccomp: SeccompSpec | undefined;
  readonly rlimits: readonly RlimitSpec[];
}
