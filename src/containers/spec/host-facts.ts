/** What the host and the daemon's own privileges allow a container to get. Read once at start; profiles come and go. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { arch, hostname } from 'node:os';
import { join } from 'node:path';
import { loadedProfiles } from '../apparmor/loaded-profiles.ts';
import { CAPABILITIES } from './capabilities.ts';

export interface HostFacts {
  readonly hostname: string;
  readonly architecture: string;
  readonly cgroupVersion: 1 | 2;
  readonly cgroupControllers: ReadonlySet<string>;
  /** Memory and swap can be limited together. */
  readonly swapAccounting: boolean;
  /** Capabilities that the daemon can hand on. */
  readonly capabilities: readonly string[];
  readonly seccomp: boolean;
  /** `profiles`: none until `withLoadedProfiles`. */
  readonly apparmor: { readonly enabled: boolean; readonly profiles: ReadonlySet<string> };
  /** Lower values than its own are refused to a process without CAP_SYS_RESOURCE. */
  readonly oomScoreAdjMin: number;
}

const OOM_SCORE_ADJ_LOWEST = -1000;

export function readHostFacts(): HostFacts {
  const status = read('/proc/self/status');
  const capabilities = capabilitiesOf(status);
  const cgroups = readCgroups('/sys/fs/cgroup');
  return {
    hostname: hostname(),
    architecture: arch(),
    ...cgroups,
    capabilities,
    seccomp: /^Seccomp:/m.test(status),
    apparmor: { enabled: read('/sys/module/apparmor/parameters/enabled').startsWith('Y'), profiles: new Set() },
    oomScoreAdjMin: capabilities.includes('CAP_SYS_RESOURCE')
      ? OOM_SCORE_ADJ_LOWEST
      : Number(read('/proc/self/oom_score_adj')),
  };
}

/** The facts with the AppArmor profiles that are loaded now, for one container. */
export async function withLoadedProfiles(host: HostFacts): Promise<HostFacts> {
  if (!host.apparmor.enabled) return host;
  return { ...host, apparmor: { enabled: true, profiles: await loadedProfiles() } };
}

/** The capabilities that are both permitted and in the bounding set of a `/proc/PID/status`. */
export function capabilitiesOf(status: string): string[] {
  const mask = (name: string) => BigInt(`0x${new RegExp(`^${name}:\\s*([0-9a-f]+)`, 'm').exec(status)?.[1] ?? '0'}`);
  const held = mask('CapPrm') & mask('CapBnd');
  return CAPABILITIES.filter((_, number) => (held >> BigInt(number)) & 1n);
}

function readCgroups(root: string): Pick<HostFacts, 'cgroupVersion' | 'cgroupControllers' | 'swapAccounting'> {
  const unified = read(join(root, 'cgroup.controllers'));
  if (unified !== '') {
    return {
      cgroupVersion: 2,
      cgroupControllers: new Set(unified.trim().split(/\s+/)),
      swapAccounting: hasSwapLimits(root),
    };
  }
  return {
    cgroupVersion: 1,
    cgroupControllers: new Set(list(root)),
    swapAccounting: read(join(root, 'memory/memory.memsw.limit_in_bytes')) !== '',
  };
}

/** The root cgroup has no memory.swap.max; any other with limits shows whether swap is accounted. */
function hasSwapLimits(root: string): boolean {
  const limited = list(root).filter((name) => existsSync(join(root, name, 'memory.max')));
  // A machine that has just booted may have no other: then a kernel with swap it is.
  if (limited.length === 0) return existsSync('/proc/swaps');
  return limited.some((name) => existsSync(join(root, name, 'memory.swap.max')));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
