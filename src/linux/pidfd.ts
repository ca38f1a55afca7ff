/**
 * Processes by descriptor: a pidfd names one process for good, also after its number was given to another.
 *
 * For a process that is not our child, ask `processStartTime` while it is known to be the right one and keep the answer:
 * number and start time together are an identity that survives our own restart.
 */
import { readFileSync } from 'node:fs';
import { SystemError } from './errno.ts';
import { bind, closeDescriptor, room } from './libc.ts';
import { waitReadable } from './poll.ts';

const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;
const P_PID = 1;
const P_PIDFD = 3;
const WNOHANG = 1;
const WEXITED = 4;
const CLD_EXITED = 1;
const ESRCH = 3;

const pidfdOpenCall = bind('syscall', ['long', 'long', 'long'], 'long');
const pidfdSendCall = bind('syscall', ['long', 'long', 'long', 'pointer', 'long'], 'long');
const waitidCall = bind('waitid', ['int', 'int', 'pointer', 'int']);

/** One of the two is a number: the exit code, or the signal that ended the process. */
export interface ProcessExit {
  readonly code: number | null;
  readonly signal: number | null;
}

/** ESRCH when there is no such process; a zombie is still there. */
export function pidfdOpen(pid: number): number {
  try {
    return pidfdOpenCall(`pid ${pid}`, SYS_PIDFD_OPEN, pid, 0);
  } catch (error) {
    // Older kernels (6.1) say so of a number that no process has any more, but a process group or session still goes by.
    if (pid > 0 && error instanceof SystemError && error.code === 'EINVAL') {
      throw new SystemError(ESRCH, 'pidfd_open', `pid ${pid}`);
    }
    throw error;
  }
}

/** Takes the exit status of a child that has ended (and so its zombie); undefined while it runs. */
export function reap(pidfd: number): ProcessExit | undefined {
  // siginfo_t of SIGCHLD: s32 signo, errno, code, padding, pid, uid, status.
  const info = room(128);
  waitidCall(`pidfd ${pidfd}`, P_PIDFD, pidfd, info, WEXITED | WNOHANG);
  if (info.readInt32LE(16) === 0) return undefined;
  const status = info.readInt32LE(24);
  return info.readInt32LE(8) === CLD_EXITED ? { code: status, signal: null } : { code: null, signal: status };
}

/** Waits for a child that was just killed, on this thread. */
export function reapKilled(pid: number): void {
  waitidCall(`pid ${pid}`, P_PID, pid, room(128), WEXITED);
}

export interface WatchedProcess extends Disposable {
  /** Resolves when the process has ended; at once when it does not exist (any more). Never after it was disposed. */
  readonly exited: Promise<void>;
  /** Sends a signal to exactly this process; false when it has ended. */
  kill(signal: number): boolean;
}

export interface ProcessIdentity {
  /** From `processStartTime`: another process of the same number counts as ended. */
  readonly startTime?: bigint;
}

/** Watches any process, child or not (a child's exit status stays for its parent to take). Main thread only. */
export function watchProcess(pid: number, identity: ProcessIdentity = {}): WatchedProcess {
  const pidfd = openIdentified(pid, identity);
  if (pidfd === undefined) return { exited: Promise.resolve(), kill: () => false, [Symbol.dispose]: () => {} };
  const waiting = waitReadable(pidfd);
  let open = true;
  const dispose = () => {
    if (!open) return;
    open = false;
    waiting[Symbol.dispose]();
    closeDescriptor(pidfd);
  };
  return {
    exited: waiting.readable.then(dispose),
    kill: (signal) => open && sendSignal(pidfd, signal),
    [Symbol.dispose]: dispose,
  };
}

/** Sends a signal (0: only asks) to that process; false when it has ended. */
export function signalProcess(pid: number, signal: number, identity: ProcessIdentity = {}): boolean {
  const pidfd = openIdentified(pid, identity);
  if (pidfd === undefined) return false;
  try {
    return sendSignal(pidfd, signal);
  } finally {
    closeDescriptor(pidfd);
  }
}

/** When the process began, in clock ticks since boot; undefined when there is none. Boot ID and this are never reused together. */
export function processStartTime(pid: number): bigint | undefined {
  let text: string;
  try {
    // procfs answers from memory: microseconds.
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  return parseStat(text).startTime;
}

export interface ProcessStat {
  /** The command's name, at most 15 bytes. */
  readonly name: string;
  /** `R`, `S`, `D`, `Z`, ... */
  readonly state: string;
  readonly parentPid: number;
  readonly startTime: bigint;
}

/** `/proc/PID/stat`; the name in parentheses may hold anything, so the fields are counted from its end. */
export function parseStat(text: string): ProcessStat {
  const end = text.lastIndexOf(')');
  const fields = text.slice(end + 2).split(' ');
  return {
    name: text.slice(text.indexOf('(') + 1, end),
    state: fields[0] ?? '',
    parentPid: Number(fields[1]),
    startTime: BigInt(fields[19] ?? '0'),
  };
}

/** The descriptor is opened first: what is compared afterwards is what it holds. */
function openIdentified(pid: number, identity: ProcessIdentity): number | undefined {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(pid);
  } catch (error) {
    if (error instanceof SystemError && error.code === 'ESRCH') return undefined;
    throw error;
  }
  if (identity.startTime === undefined || processStartTime(pid) === identity.startTime) return pidfd;
  closeDescriptor(pidfd);
  return undefined;
}

function sendSignal(pidfd: number, signal: number): boolean {
  try {
    pidfdSendCall(`pidfd ${pidfd}`, SYS_PIDFD_SEND_SIGNAL, pidfd, signal, null, 0);
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.code === 'ESRCH') return false;
    throw error;
  }
}
