/** AppArmor, seccomp, and the paths that are hidden or made read-only. */
import { CairnError } from '../../base/errors.ts';
import { DEFAULT_APPARMOR_PROFILE } from '../apparmor/default-profile.ts';
import type { SecurityContext } from '../index.ts';
import type { HostFacts } from './host-facts.ts';
import type { LinuxSpec, SeccompSpec } from './oci.ts';
import { defaultSeccompProfile } from './seccomp-default.ts';

/**
 * The AppArmor profile, undefined for none. A profile that the caller named and the kernel lacks is refused. Without
 * AppArmor in the kernel the runtime's default is no profile, as everywhere in Kubernetes. The default is not for
 * privileged containers; a profile that was named is.
 */
export function apparmorProfile(security: SecurityContext, host: HostFacts): string | undefined {
  const asked = security.apparmorProfile;
  const isDefault = asked === '' || asked === 'runtime/default';
  if (asked === 'unconfined' || (isDefault && security.privileged)) return undefined;
  if (!host.apparmor.enabled) {
    if (isDefault) return undefined;
    throw refuse(`AppArmor profile ${JSON.stringify(asked)}: AppArmor is not enabled on this host`);
  }
  const profile = isDefault ? DEFAULT_APPARMOR_PROFILE : asked.replace(/^localhost\//, '');
  if (host.apparmor.profiles.has(profile)) return profile;
  // Nothing was asked for, and the log of the start says why there is none.
  if (asked === '') return undefined;
  const remedy = isDefault ? '; the log of cairnd says why' : ': load it with apparmor_parser';
  throw refuse(`AppArmor profile ${JSON.stringify(profile)} is not loaded on this host${remedy}`);
}

/** The seccomp filter, undefined for none. */
export function seccompProfile(
  security: SecurityContext,
  host: HostFacts,
  bounding: readonly string[],
  localhost: SeccompSpec | undefined,
): SeccompSpec | undefined {
  if (security.privileged || security.seccomp.kind === 'unconfined') return undefined;
  if (!host.seccomp) throw refuse('a seccomp profile was asked for, but this kernel has no seccomp');
  if (security.seccomp.kind === 'runtimeDefault') return defaultSeccompProfile(bounding, host.architecture);
  if (localhost === undefined) throw refuse(`seccomp profile ${security.seccomp.path} was not read`);
  return localhost;
}

/** As the caller lists them; a privileged container sees everything. */
export function hiddenPaths(security: SecurityContext): Pick<LinuxSpec, 'maskedPaths' | 'readonlyPaths'> {
  if (security.privileged) return { maskedPaths: [], readonlyPaths: [] };
  return { maskedPaths: security.maskedPaths, readonlyPaths: security.readonlyPaths };
}

function refuse(message: string): CairnError {
  return new CairnError('FailedPrecondition', message, { step: 'container.spec' });
}
