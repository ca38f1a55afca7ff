/** LinuxContainerSecurityContext. */
import type { SecurityContext } from '../containers/index.ts';
import type { LinuxContainerSecurityContext } from '../generated/cri.js';
import type { PodConfig } from '../pods/index.ts';
import { absolutePath, invalid, noNul, oneOf, userOrGroupId } from './fields.ts';
import { parseContainerNamespaces } from './parse-namespaces.ts';
import type { HostSecurity } from './parse-pod.ts';
import { checkSelinux, parseAppArmor, parseSeccomp } from './parse-profiles.ts';

/** enum SupplementalGroupsPolicy. */
const GROUP_POLICIES: Readonly<Record<number, SecurityContext['supplementalGroupsPolicy']>> = {
  0: 'merge',
  1: 'strict',
};

/**
 * What of /proc and /sys tells of the host or reaches into it. Kubernetes sends this list with every container but those
 * with an unmasked /proc, which need a user namespace; an empty list without one comes from callers that do not know
 * the field, and is no wish to see everything.
 */
const MASKED_PATHS: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];
const READONLY_PATHS: readonly string[] = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

export function parseSecurity(
  field: string,
  security: LinuxContainerSecurityContext | null,
  pod: PodConfig,
  host: HostSecurity,
): SecurityContext {
  const privileged = security?.privileged ?? false;
  if (privileged && !pod.privileged)
    throw invalid(`${field}.privileged`, 'the pod was not made for privileged containers');
  checkSelinux(field, security?.selinuxOptions ?? null, host.selinuxEnabled);
  const mayBeEmpty = security !== null && pod.userNamespace !== undefined;
  const { addCapabilities = [], dropCapabilities = [], addAmbientCapabilities = [] } = security?.capabilities ?? {};
  return {
    privileged,
    addCapabilities,
    dropCapabilities,
    addAmbientCapabilities,
    pid: parseContainerNamespaces(`${field}.namespace_options`, security?.namespaceOptions ?? null, pod),
    ...parseIdentity(field, security),
    readonlyRootfs: security?.readonlyRootfs ?? false,
    noNewPrivileges: security?.noNewPrivs ?? false,
    maskedPaths: paths(`${field}.masked_paths`, security?.maskedPaths, mayBeEmpty ? [] : MASKED_PATHS),
    readonlyPaths: paths(`${field}.readonly_paths`, security?.readonlyPaths, mayBeEmpty ? [] : READONLY_PATHS),
    seccomp: parseSeccomp(field, security?.seccomp ?? null, security?.seccompProfilePath ?? ''),
    apparmorProfile: parseAppArmor(field, security?.apparmor ?? null, security?.apparmorProfile ?? ''),
  };
}

type Identity = Pick<
  SecurityContext,
  'runAsUser' | 'runAsUsername' | 'runAsGroup' | 'supplementalGroups' | 'supplementalGroupsPolicy'
>;

function parseIdentity(field: string, security: LinuxContainerSecurityContext | null): Identity {
  const { runAsUser = null, runAsUsername = '', runAsGroup = null } = security ?? {};
  if (runAsUser && runAsUsername !== '') throw invalid(`${field}.run_as_username`, 'excludes run_as_user');
  if (runAsGroup && !runAsUser && runAsUsername === '') {
    throw invalid(`${field}.run_as_group`, 'needs run_as_user or run_as_username');
  }
  const policy = security?.supplementalGroupsPolicy ?? 0;
  return {
    runAsUser: runAsUser ? userOrGroupId(`${field}.run_as_user`, runAsUser.value) : undefined,
    runAsUsername: noNul(`${field}.run_as_username`, runAsUsername),
    runAsGroup: runAsGroup ? userOrGroupId(`${field}.run_as_group`, runAsGroup.value) : undefined,
    supplementalGroups: (security?.supplementalGroups ?? []).map((group, index) =>
      userOrGroupId(`${field}.supplemental_groups[${index}]`, group),
    ),
    supplementalGroupsPolicy: oneOf(`${field}.supplemental_groups_policy`, policy, GROUP_POLICIES),
  };
}

function paths(field: string, given: readonly string[] | undefined, fallback: readonly string[]): readonly string[] {
  if (given === undefined || given.length === 0) return fallback;
  return given.map((path, index) => absolutePath(`${field}[${index}]`, path));
}
