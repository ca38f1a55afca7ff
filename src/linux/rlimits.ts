/**
 * Resource limits that children and containers get.
 *
 * Node raises its own soft RLIMIT_NOFILE to the hard one before any of our code runs, and a child would inherit that: a
 * program that closes every possible descriptor then takes minutes. What the daemon was started with can't be read from
 * the kernel any more, so its launcher passes it on (`CAIRN_NOFILE_SOFT=$(ulimit -Sn)`). Without that, the parent's soft
 * limit is taken where the parent has the same hard one (a shell), else 1024, the default of the kernel and of systemd.
 */
import { bind, room } from './libc.ts';

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
    parent: parentFileLimit(),
  });
  return fileLimit;
}

/** For programs whose configuration names another limit. */
export function setStartingFileLimit(limit: ResourceLimit): void {
  fileLimit = limit;
}

/** The rule above, as a function of what is known. */
export function chooseFileLimit(known: {
  readonly current: ResourceLimit;
  readonly passedOn: string | undefined;
  readonly parent: ResourceLimit | undefined;
}): ResourceLimit {
  const { hard } = known.current;
  const within = (soft: bigint) => ({ soft: soft < hard ? soft : hard, hard });
  if (known.passedOn === 'unlimited') return within(RLIM_INFINITY);
  if (known.passedOn !== undefined && /^\d{1,19}$/.test(known.passedOn)) return within(BigInt(known.passedOn));
  if (known.parent?.hard === hard) return within(known.parent.soft);
  return within(DEFAULT_SOFT);
}

/** PID 1 raises its own soft limit, so it tells nothing about its children's. */
function parentFileLimit(): ResourceLimit | undefined {
  if (process.ppid === 1) return undefined;
  try {
    return getLimit(process.ppid, 'RLIMIT_NOFILE');
  } catch {
    return undefined;
  }
}
