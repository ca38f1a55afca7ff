/** What the host and the daemon's own privileges allow a container to get. Read once at start. */
import { readdirSync, readFileSync } from 'node:fs';
import { arch, hostname } from 'node:os';
import { join } from 'node:path';
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
    apparmor: readAppArmor(),
    oomScoreAdjMin: capabilities.includes('CAP_SYS_RESOURCE')
      ? OOM_SCORE_ADJ_LOWEST
      : Number(read('/proc/self/oom_score_adj')),
  };
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
      // The root cgroup has no memory.swap.max; any other shows whether swap is accounted.
      swapAccounting: list(root).some((name) => read(join(root, name, 'memory.swap.max')) !== ''),
    };
  }
  return {
    cgroupVersion: 1,
    cgroupControllers: new Set(list(root)),
    swapAccounting: read(join(root, 'memory/memory.memsw.limit_in_bytes')) !== '',
  };
}

function readAppArmor(): HostFacts['apparmor'] {
  const enabled = read('/sys/module/apparmor/parameters/enabled').startsWith('Y');
  const loaded = enabled ? read('/sys/kernel/security/apparmor/profiles') : '';
  const names = loaded.split('\n').flatMap((line) => /^(.+) \([a-z]+\)$/.exec(line)?.[1] ?? []);
  return { enabled, profiles: new Set(names) };
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
