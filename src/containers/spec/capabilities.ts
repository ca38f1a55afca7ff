/** Linux capabilities: their names by number, the default set, and what a security context makes of it. */
import { CairnError } from '../../base/errors.ts';
import type { SecurityContext } from '../index.ts';
import type { CapabilitySets } from './oci.ts';

/** By number (linux/capability.h). */
export const CAPABILITIES: readonly string[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
].map((name) => `CAP_${name}`);

/** What a container gets that asks for nothing: the set that Docker made customary and images rely on. */
const DEFAULT: ReadonlySet<string> = new Set(
  [
    'AUDIT_WRITE',
    'CHOWN',
    'DAC_OVERRIDE',
    'FOWNER',
    'FSETID',
    'KILL',
    'MKNOD',
    'NET_BIND_SERVICE',
    'NET_RAW',
    'SETFCAP',
    'SETGID',
    'SETPCAP',
    'SETUID',
    'SYS_CHROOT',
  ].map((name) => `CAP_${name}`),
);

/**
 * The capability sets of a container. `held` is what the daemon has to give: `ALL` and privileged mean all of that, a
 * default that is not held is left out, and asking by name for one that is not held is FailedPrecondition.
 */
export function buildCapabilities(security: SecurityContext, held: readonly string[]): CapabilitySets {
  const ambient = security.addAmbientCapabilities.flatMap((name) => (isAll(name) ? held : [checkHeld(name, held)]));
  const base = security.privileged ? held : merge(security, held);
  const all = sorted(new Set([...base, ...ambient]));
  // Inheritable stays empty but for ambient ones: else a non-root process could regain them from file capabilities.
  return { bounding: all, effective: all, permitted: all, inheritable: sorted(ambient), ambient: sorted(ambient) };
}

function merge(security: SecurityContext, held: readonly string[]): Set<string> {
  const { addCapabilities: add, dropCapabilities: drop } = security;
  const dropped = drop.filter((name) => !isAll(name)).map(normalize);
  let result = new Set(held.filter((name) => DEFAULT.has(name)));
  if (add.some(isAll)) result = new Set(held);
  if (drop.some(isAll)) result = new Set();
  for (const name of add) if (!isAll(name)) result.add(checkHeld(name, held));
  for (const name of dropped) result.delete(name);
  return result;
}

function checkHeld(unsafeName: string, held: readonly string[]): string {
  const name = normalize(unsafeName);
  if (held.includes(name)) return name;
  throw new CairnError('FailedPrecondition', `capability ${name} can't be added: the daemon itself does not have it`, {
    step: 'container.spec',
  });
}

function normalize(unsafeName: string): string {
  const upper = unsafeName.toUpperCase();
  const name = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (CAPABILITIES.includes(name)) return name;
  throw new CairnError('InvalidArgument', `unknown capability ${JSON.stringify(unsafeName)}`, {
    step: 'container.spec',
  });
}

function isAll(name: string): boolean {
  return name.toUpperCase() === 'ALL';
}

/** In the kernel's order: equal requests give equal specs. */
function sorted(names: Iterable<string>): string[] {
  const set = new Set(names);
  return CAPABILITIES.filter((name) => set.has(name));
}
