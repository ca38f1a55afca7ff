/** What the user who runs this may do: cairnd needs the same. */
import { type Check, subject } from './check.ts';
import { readText } from './host.ts';

/** Bits of capabilities(7). */
const NEEDED: Readonly<Record<string, number>> = {
  CAP_CHOWN: 0,
  CAP_DAC_OVERRIDE: 1,
  CAP_FOWNER: 3,
  CAP_KILL: 5,
  CAP_SETGID: 6,
  CAP_SETUID: 7,
  CAP_SETPCAP: 8,
  CAP_NET_ADMIN: 12,
  CAP_SYS_CHROOT: 18,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_ADMIN: 21,
  CAP_MKNOD: 27,
  CAP_SETFCAP: 31,
};
const CAP_SYS_RESOURCE = 24;

export async function checkPrivileges(): Promise<Check[]> {
  const capabilities = effectiveCapabilities((await readText('/proc/self/status')) ?? '');
  return [checkUser(process.geteuid?.() ?? -1), checkCapabilities(capabilities), checkResource(capabilities)];
}

/** CapEff of /proc/PID/status. */
export function effectiveCapabilities(status: string): bigint {
  const [, hex] = /^CapEff:\s*([0-9a-f]+)$/m.exec(status) ?? [];
  return hex === undefined ? 0n : BigInt(`0x${hex}`);
}

export function checkUser(userId: number): Check {
  const user = subject('privileges.user', 'Mounts, namespaces and cgroups of pods are made by root.');
  return userId === 0 ? user.ok('root') : user.failed(`user ID ${userId}`, 'Run cairnd (and this check) as root.');
}

export function checkCapabilities(capabilities: bigint): Check {
  const all = subject('privileges.capabilities', 'Root without a capability fails in the middle of starting a pod.');
  const missing = Object.entries(NEEDED).filter(([, bit]) => !has(capabilities, bit));
  if (missing.length === 0) return all.ok('all that are needed');
  const names = missing.map(([name]) => name).join(', ');
  return all.failed(
    `missing: ${names}`,
    'Remove the limit of the service or container that this runs in (privileged).',
  );
}

export function checkResource(capabilities: bigint): Check {
  const resource = subject('privileges.sys-resource', 'Critical pods get a negative oom_score_adj from the kubelet.');
  if (has(capabilities, CAP_SYS_RESOURCE)) return resource.ok('CAP_SYS_RESOURCE');
  return resource.warning(
    'no CAP_SYS_RESOURCE: the kernel refuses a lower oom_score_adj and higher limits; they are clamped to our own',
    'Give the service or container that this runs in CAP_SYS_RESOURCE.',
  );
}

function has(capabilities: bigint, bit: number): boolean {
  return ((capabilities >> BigInt(bit)) & 1n) === 1n;
}
