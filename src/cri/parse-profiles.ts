/** Seccomp, AppArmor and SELinux of a security context, in the new form or the deprecated one. */
import type { SeccompProfile } from '../containers/index.ts';
import type { SELinuxOption, SecurityProfile } from '../generated/cri.js';
import { absolutePath, invalid, oneOf, unsupported } from './fields.ts';

const RUNTIME_DEFAULT = 'runtime/default';
const UNCONFINED = 'unconfined';
const LOCALHOST = 'localhost/';
/** What Docker called its default; the kubelet of old passed it on. */
const DOCKER_DEFAULT = 'docker/default';

type Kind = 'runtimeDefault' | 'unconfined' | 'localhost';

/** SecurityProfile.ProfileType. */
const KINDS: Readonly<Record<number, Kind>> = { 0: 'runtimeDefault', 1: 'unconfined', 2: 'localhost' };

interface Reference {
  readonly kind: Kind;
  readonly name: string;
}

/** `profile` wins over `deprecated`; without either a container is unconfined, as the API says. */
export function parseSeccomp(field: string, profile: SecurityProfile | null, deprecated: string): SeccompProfile {
  const reference = parseReference(`${field}.seccomp`, profile, `${field}.seccomp_profile_path`, deprecated);
  if (reference?.kind !== 'localhost') return { kind: reference?.kind ?? 'unconfined' };
  const nameField = profile ? `${field}.seccomp.localhost_ref` : `${field}.seccomp_profile_path`;
  return { kind: 'localhost', path: absolutePath(nameField, reference.name) };
}

/** As `SecurityContext.apparmorProfile` has it; empty when nothing was said. */
export function parseAppArmor(field: string, profile: SecurityProfile | null, deprecated: string): string {
  const reference = parseReference(`${field}.apparmor`, profile, `${field}.apparmor_profile`, deprecated);
  if (reference === undefined) return '';
  if (reference.kind === 'localhost') {
    // Some callers (critest, old kubelets) write the prefix into the new field as well.
    const name = reference.name.startsWith(LOCALHOST) ? reference.name.slice(LOCALHOST.length) : reference.name;
    if (name === '') throw invalid(`${field}.apparmor.localhost_ref`, 'names no profile');
    return `${LOCALHOST}${name}`;
  }
  return reference.kind === 'unconfined' ? UNCONFINED : RUNTIME_DEFAULT;
}

function parseReference(
  field: string,
  profile: SecurityProfile | null,
  deprecatedField: string,
  deprecated: string,
): Reference | undefined {
  if (profile) return parseProfile(field, profile);
  if (deprecated === '') return undefined;
  if (deprecated === RUNTIME_DEFAULT || deprecated === DOCKER_DEFAULT) return { kind: 'runtimeDefault', name: '' };
  if (deprecated === UNCONFINED) return { kind: 'unconfined', name: '' };
  if (deprecated.startsWith(LOCALHOST) && deprecated.length > LOCALHOST.length) {
    return { kind: 'localhost', name: deprecated.slice(LOCALHOST.length) };
  }
  const allowed = `${RUNTIME_DEFAULT}, ${UNCONFINED} or ${LOCALHOST}NAME`;
  throw invalid(deprecatedField, `${JSON.stringify(deprecated)} is not ${allowed}`);
}

function parseProfile(field: string, profile: SecurityProfile): Reference {
  const kind = oneOf(`${field}.profile_type`, profile.profileType, KINDS);
  const name = profile.localhostRef;
  if (kind === 'localhost' && name === '') throw invalid(`${field}.localhost_ref`, 'is required with Localhost');
  if (kind !== 'localhost' && name !== '') throw invalid(`${field}.localhost_ref`, 'is only allowed with Localhost');
  return { kind, name };
}

/**
 * On a host without SELinux there is nothing to label, and charts that carry options must run there as they do
 * everywhere; on a host with it a label that is not applied would be a hole.
 */
export function checkSelinux(field: string, options: SELinuxOption | null, selinuxEnabled: boolean): void {
  const asked = options && [options.user, options.role, options.type, options.level].some((part) => part !== '');
  if (asked && selinuxEnabled) throw unsupported(`${field}.selinux_options`);
}
