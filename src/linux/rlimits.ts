/**
 * Resource limits that children and containers get.
 *
 * Node raises its own soft RLIMIT_NOFILE to the hard one before any of our code runs, and a child would inherit that: a
 * program that closes every possible descriptor then takes minutes. What the daemon was started with can't be read from
 * the kernel any more, so its launcher passes it on (`CAIRN_NOFILE_SOFT=$(ulimit -Sn)`). Without that it is the soft limit
 * of the process that started us, or, when Node (npm, say) is among our ancestors and may have raised it for all below,
 * of the one that started that. Where this tells nothing, 1024: the default of the kernel and of systemd.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { bind, room } from './libc.ts';
import { parseStat } from './pidfd.ts';

export interface ResourceLimit {
  readonly soft: bigint;
  readonly hard: bigint;
}

export const RLIM_INFINITY = 0xffff_ffff_ffff_ffffn;
const DEFAULT_SOFT = 1024n;

/** The numbers of the kernel's table, the same on x64 and arm64. */
const RESOURCES = {
  RLIMIT_CPU: 0,
  RLIMIT_FSIZE: 1,
  RLIMIT_DATA: 2,
  RLIMIT_STACK: 3,
  RLIMIT_CORE: 4,
  RLIMIT_RSS: 5,
  RLIMIT_NPROC: 6,
  RLIMIT_NOFILE: 7,
  RLIMIT_MEMLOCK: 8,
  RLIMIT_AS: 9,
  RLIMIT_LOCKS: 10,
  RLIMIT_SIGPENDING: 11,
  RLIMIT_MSGQUEUE: 12,
  RLIMIT_NICE: 13,
  RLIMIT_RTPRIO: 14,
  RLIMIT_RTTIME: 15,
} as const;
/** As the OCI runtime spec writes them. */
export type Resource = keyof typeof RESOURCES;

const prlimit = bind('prlimit', ['int', 'int', 'pointer', 'pointer']);

/** The limit of a process (0: this one), now. */
export function getLimit(pid: number, resource: Resource): ResourceLimit {
  // struct rlimit64: u64 soft, u64 hard.
  const old = room(16);
  prlimit(resource, pid, RESOURCES[resource], null, old);
  return { soft: old.readBigUInt64LE(0), hard: old.readBigUInt64LE(8) };
}

export function setLimit(pid: number, resource: Resource, limit: ResourceLimit): void {
  const next = room(16);
  next.writeBigUInt64LE(limit.soft, 0);
  next.writeBigUInt64LE(limit.hard, 8);
  prlimit(resource, pid, RESOURCES[resource], next, null);
}

let fileLimit: ResourceLimit | undefined;

/** RLIMIT_NOFILE as the daemon was started with it: for children and for containers without a configured one. */
export function startingFileLimit(): ResourceLimit {
  fileLimit ??= chooseFileLimit({
    current: getLimit(0, 'RLIMIT_NOFILE'),
    passedOn: process.env['CAIRN_NOFILE_SOFT'],
    ancestors: readAncestors(),
  });
  return fileLimit;
}

/** For programs whose configuration names another limit. */
export function setStartingFileLimit(limit: ResourceLimit): void {
  fileLimit = limit;
}

export interface Ancestor {
  readonly isNode: boolean;
  readonly limit: ResourceLimit;
}

/** The rule above, as a function of what is known; the nearest ancestor first. */
export function chooseFileLimit(known: {
  readonly current: ResourceLimit;
  readonly passedOn: string | undefined;
  readonly ancestors: readonly Ancestor[];
}): ResourceLimit {
  const { hard } = known.current;
  const within = (soft: bigint) => ({ soft: soft < hard ? soft : hard, hard });
  if (known.passedOn === 'unlimited') return within(RLIM_INFINITY);
  if (known.passedOn !== undefined && /^\d{1,19}$/.test(known.passedOn)) return within(BigInt(known.passedOn));
  let found: bigint | undefined;
  for (const { isNode, limit } of known.ancestors) {
    // Another hard limit: we come from another world (a login, a service), whose soft one says nothing.
    if (limit.hard !== hard) break;
    if (isNode) {
      found = undefined;
      continue;
    }
    found ??= limit.soft;
    // Below the hard limit, so nobody above has raised it.
    if (limit.soft < hard) break;
  }
  return within(found ?? DEFAULT_SOFT);
}

/** Up to PID 1, which raises its own limit (systemd does) and so tells nothing. */
function readAncestors(): Ancestor[] {
  const ancestors: Ancestor[] = [];
  try {
    for (let pid = process.ppid; pid > 1 && ancestors.length < ANCESTORS_MAX; ) {
      const isNode = basename(readlinkSync(`/proc/${pid}/exe`)) === 'node';
      ancestors.push({ isNode, limit: getLimit(pid, 'RLIMIT_NOFILE') });
      pid = parseStat(readFileSync(`/proc/${pid}/stat`, 'latin1')).parentPid;
    }
  } catch {
    // One has ended, or is not ours to ask: what is known so far counts.
  }
  return ancestors;
}

const ANCESTORS_MAX = 64;
