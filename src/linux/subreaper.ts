/**
 * Children that others made for us: orphans whose next ancestor we are (prctl(2), PR_SET_CHILD_SUBREAPER).
 *
 * `runc exec --detach` ends as soon as its command runs; the command then becomes our child, and only a parent learns an
 * exit code. Whoever expects such a child adopts it. All other orphans (a container's init whose monitor was killed, what
 * a CNI plugin left running) are nobody's: their zombies are collected after a second or two. Main thread only.
 */
import { readFile } from 'node:fs/promises';
import { errnoOf } from '../base/errors.ts';
import { bind, closeDescriptor, room } from './libc.ts';
import { type ProcessExit, pidfdOpen, reap } from './pidfd.ts';
import { waitReadable } from './poll.ts';

const PR_SET_CHILD_SUBREAPER = 36;
const P_ALL = 0;
const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
const WNOWAIT = 0x01000000;
/**
 * A zombie that is there in two rounds is nobody's: libuv and `spawnProcess` take theirs in the next turn of the event
 * loop. Short, because a zombie in a PID namespace holds up the end of the namespace's init.
 */
const STRAY_INTERVAL_MS = 1_000;

const prctl = bind('prctl', ['int', 'long', 'long', 'long', 'long']);
const waitid = bind('waitid', ['int', 'int', 'pointer', 'int']);

let users = 0;
let timer: NodeJS.Timeout | undefined;

/** Makes this process the reaper of its orphaned descendants, until the last user disposes. */
export function becomeSubreaper(): Disposable {
  if (users++ === 0) {
    prctl(undefined, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    let suspects: ReadonlySet<number> = new Set();
    timer = setInterval(() => {
      reapStrays(suspects).then(
        (zombies) => {
          suspects = zombies;
        },
        () => undefined, // /proc is unreadable: out of descriptors. The next round tries again.
      );
    }, STRAY_INTERVAL_MS);
    timer.unref();
  }
  let disposed = false;
  return {
    [Symbol.dispose]: () => {
      if (disposed) return;
      disposed = true;
      if (--users > 0) return;
      clearInterval(timer);
      prctl(undefined, PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    },
  };
}

/** Takes the zombies that were there (`suspects`) in the last round already; returns those that are there now. */
async function reapStrays(suspects: ReadonlySet<number>): Promise<Set<number>> {
  // One system call says that there is none, as nearly always.
  if (!isZombie(P_ALL, 0, WNOWAIT)) return new Set();
  const children = await readFile(`/proc/self/task/${process.pid}/children`, 'latin1');
  const zombies = new Set<number>();
  for (const pid of children.split(' ').filter(Boolean).map(Number)) {
    if (isZombie(P_PID, pid, suspects.has(pid) ? 0 : WNOWAIT)) zombies.add(pid);
  }
  return zombies;
}

function isZombie(kind: number, pid: number, flags: number): boolean {
  const info = room(128);
  try {
    waitid(`pid ${pid}`, kind, pid, info, WEXITED | WNOHANG | flags);
  } catch (error) {
    if (errnoOf(error) === 'ECHILD') return false;
    throw error;
  }
  return info.readInt32LE(0) !== 0;
}

export interface AdoptedProcess {
  readonly pid: number;
  /** Its end; undefined when its status went to another parent. Never rejects. */
  readonly exited: Promise<ProcessExit | undefined>;
}

/** Waits for an orphan that became our child (a zombie by now, perhaps). Undefined when there is no such process. */
export function adoptProcess(pid: number): AdoptedProcess | undefined {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(pid);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return undefined;
    throw error;
  }
  const exited = waitReadable(pidfd).readable.then(() => {
    try {
      return reap(pidfd);
    } catch (error) {
      if (errnoOf(error) === 'ECHILD') return undefined;
      throw error;
    } finally {
      closeDescriptor(pidfd);
    }
  });
  return { pid, exited };
}
