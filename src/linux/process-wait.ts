/** What processes that should be gone are waiting for, in words: for the message of a stop that does not end. */
import { readFile } from 'node:fs/promises';

const SHOWN_MAX = 5;
/** Frames of the kernel's stack: the innermost say what is waited for. */
const FRAMES_MAX = 3;

/**
 * `process 12 (sh) is in state D (disk sleep), waiting in rpc_wait_bit_killable < nfs4_proc_getattr`, one after the other. Those
 * that have ended meanwhile are left out, and so are zombies: they wait for their parent, not in the kernel. Empty when none is left.
 */
export async function describeWaits(pids: readonly number[]): Promise<string> {
  const words = (await Promise.all(pids.map(describeWait))).filter((text) => text !== '');
  const more = words.length > SHOWN_MAX ? [`and ${words.length - SHOWN_MAX} more`] : [];
  return [...words.slice(0, SHOWN_MAX), ...more].join('; ');
}

async function describeWait(pid: number): Promise<string> {
  const [status, wchan, stack] = await Promise.all(['status', 'wchan', 'stack'].map((file) => read(pid, file)));
  const { name, state } = parseStatus(status ?? '');
  if (name === '' || state.startsWith('Z')) return '';
  const frames = parseStack(stack ?? '');
  const wait = frames.length > 0 ? frames.join(' < ') : wchan === '0' ? '' : (wchan ?? '');
  return `process ${pid} (${name}) is in state ${state}${wait === '' ? '' : `, waiting in ${wait}`}`;
}

/** `Name:` and `State:` of /proc/PID/status. */
export function parseStatus(text: string): { readonly name: string; readonly state: string } {
  const field = (key: string) => new RegExp(`^${key}:\\s*(.+)$`, 'm').exec(text)?.[1] ?? '';
  return { name: field('Name'), state: field('State') };
}

/** Function names of /proc/PID/stack, innermost first, without the entry of the system call. */
export function parseStack(text: string): string[] {
  const names = Array.from(text.matchAll(/\]\s+([\w.]+)\+0x/g), ([, name]) => name ?? '');
  return names
    .filter((name) => !/^(?:entry_|do_syscall|__x64_sys|__arm64_sys|ret_from)/.test(name))
    .slice(0, FRAMES_MAX);
}

/** Empty when it is gone or can't be read: the stack is for root, and not in every kernel. */
async function read(pid: number, file: string): Promise<string> {
  return (await readFile(`/proc/${pid}/${file}`, 'utf8').catch(() => '')).trim();
}
