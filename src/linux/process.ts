/**
 * Child processes on the hot path. Main thread only.
 *
 * A child belongs to who spawned it until `exited` resolves; it is reaped through its pidfd, so its number can't be
 * mistaken. It is never killed by being forgotten: conmon outlives us on purpose.
 */
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { abortError, CairnError, throwIfAborted } from '../base/errors.ts';
import { fchownat } from './at.ts';
import { closeDescriptor } from './libc.ts';
import { type ProcessExit, pidfdOpen, reap, reapKilled } from './pidfd.ts';
import { makePipe } from './pipe.ts';
import { waitReadable } from './poll.ts';
import { spawn } from './spawn.ts';

/** `null`: /dev/null; `pipe`: a stream to us; a number: this descriptor of ours (it stays open here). */
export type ChildStream = 'null' | 'pipe' | number;

export interface SpawnOptions {
  /** Absolute path of the program. */
  readonly file: string;
  /** Without the program's own name. */
  readonly args: readonly string[];
  /** The whole environment; nothing is inherited. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Default: `null`, each. */
  readonly stdin?: ChildStream;
  readonly stdout?: ChildStream;
  readonly stderr?: ChildStream;
  /** The child's number -> ours. They stay open here: close them when the child has them. */
  readonly extraFds?: Readonly<Record<number, number>>;
  /** Whose the pipes are; ours by default. Who isn't their owner may use, but not reopen them (`/dev/stdout`). */
  readonly pipeOwner?: { readonly uid: number; readonly gid: number } | undefined;
}

export interface ChildProcess {
  readonly pid: number;
  /** Where `pipe` was asked for. Read or destroy it: a full pipe stops the child. */
  readonly stdin: Writable | undefined;
  readonly stdout: Readable | undefined;
  readonly stderr: Readable | undefined;
  /** Never rejects. The streams may still hold data. */
  readonly exited: Promise<ProcessExit>;
  /** Signals the child, or with `group` its process group (it leads one). False when it has ended. */
  kill(signal: number, options?: { group?: boolean }): boolean;
}

/** Throws a `SystemError` when the program can't be executed. */
export function spawnProcess(options: SpawnOptions): ChildProcess {
  const descriptors = new Map<number, number | null>();
  const childEnds: number[] = [];
  const ourEnds: (number | undefined)[] = [];
  try {
    for (const [child, stream] of [options.stdin, options.stdout, options.stderr].entries()) {
      if (stream === 'pipe') {
        const { readEnd, writeEnd } = makePipe();
        const [theirs, ours] = child === 0 ? [readEnd, writeEnd] : [writeEnd, readEnd];
        childEnds.push(theirs);
        if (options.pipeOwner) fchownat(theirs, '', options.pipeOwner.uid, options.pipeOwner.gid);
        ourEnds[child] = ours;
        descriptors.set(child, theirs);
      } else {
        descriptors.set(child, typeof stream === 'number' ? stream : null);
      }
    }
    for (const [child, ours] of Object.entries(options.extraFds ?? {})) descriptors.set(Number(child), ours);
    const pid = spawn({ ...options, descriptors });
    const watch = watchChild(pid);
    const [input, output, errors] = ourEnds.splice(0);
    return {
      pid,
      stdin: input === undefined ? undefined : streamOf(input, 'writable'),
      stdout: output === undefined ? undefined : streamOf(output, 'readable'),
      stderr: errors === undefined ? undefined : streamOf(errors, 'readable'),
      ...watch,
    };
  } finally {
    for (const fd of childEnds) closeDescriptor(fd);
    for (const fd of ourEnds) if (fd !== undefined) closeDescriptor(fd);
  }
}

/** A pidfd is readable when its process has ended; no status then means that somebody else reaped our child. */
const LOST: ProcessExit = { code: 255, signal: null };

function streamOf(fd: number, direction: 'readable' | 'writable'): Socket {
  const stream = new Socket({ fd, readable: direction === 'readable', writable: direction === 'writable' });
  // A reader that went away (EPIPE) is the reader's choice; who cares listens as well.
  stream.on('error', () => {});
  return stream;
}

function watchChild(pid: number): Pick<ChildProcess, 'exited' | 'kill'> {
  let pidfd: number;
  try {
    pidfd = pidfdOpen(pid);
  } catch (error) {
    // Out of descriptors. Nobody could ever watch it: better no child than an unknown one.
    process.kill(pid, 'SIGKILL');
    reapKilled(pid);
    throw error;
  }
  let running = true;
  const waiting = waitReadable(pidfd);
  const exited = waiting.readable.then(() => {
    running = false;
    try {
      return reap(pidfd) ?? LOST;
    } catch {
      return LOST;
    } finally {
      closeDescriptor(pidfd);
    }
  });
  return {
    exited,
    kill: (signal, options = {}) => {
      // Until it is reaped, here, the number is the child's.
      if (!running) return false;
      try {
        return process.kill(options.group === true ? -pid : pid, signal);
      } catch {
        return false;
      }
    },
  };
}

export interface RunOptions {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly stdinData?: string | Uint8Array;
  readonly extraFds?: Readonly<Record<number, number>>;
  /** Beyond it the child and its process group are killed and the call throws DeadlineExceeded. */
  readonly timeoutMs: number;
  /** Of each stream; what comes after is read and dropped. */
  readonly outputBytesMax: number;
  readonly signal?: AbortSignal | undefined;
}

export interface RunResult extends ProcessExit {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** Output was dropped. */
  readonly truncated: boolean;
}

/** How long output may still come after the end, from a descendant that holds the pipe. */
const LINGER_MS = 200;
/** How long a killed child may take to be gone: one in an uninterruptible wait must not hang the caller. */
const KILL_WAIT_MS = 2000;
const SIGKILL = 9;

/** Runs a program to its end, whatever its exit code. */
export async function runProcess(options: RunOptions): Promise<RunResult> {
  throwIfAborted(options.signal, 'linux.run');
  const child = spawnProcess({ ...options, stdin: options.stdinData === undefined ? 'null' : 'pipe', ...PIPES });
  const stdout = collect(child.stdout, options.outputBytesMax);
  const stderr = collect(child.stderr, options.outputBytesMax);
  child.stdin?.end(options.stdinData);
  try {
    const exit = await endOf(child, options);
    await settled(Promise.all([stdout.ended, stderr.ended]), LINGER_MS);
    return {
      ...exit,
      stdout: stdout.take(),
      stderr: stderr.take(),
      truncated: stdout.truncated() || stderr.truncated(),
    };
  } finally {
    child.stdin?.destroy();
    child.stdout?.destroy();
    child.stderr?.destroy();
  }
}

const PIPES = { stdout: 'pipe', stderr: 'pipe' } as const;

async function endOf(child: ChildProcess, options: RunOptions): Promise<ProcessExit> {
  const { promise: stopped, resolve: stop } = Promise.withResolvers<CairnError>();
  const timer = setTimeout(() => {
    const message = `${options.file} did not end within ${options.timeoutMs} ms and was killed`;
    stop(new CairnError('DeadlineExceeded', message, { step: 'linux.run' }));
  }, options.timeoutMs);
  const onAbort = () => {
    if (options.signal) stop(abortError(options.signal, 'linux.run'));
  };
  options.signal?.addEventListener('abort', onAbort, { once: true });
  try {
    const first = await Promise.race([child.exited, stopped]);
    if (!(first instanceof CairnError)) return first;
    child.kill(SIGKILL, { group: true });
    await settled(child.exited, KILL_WAIT_MS);
    throw first;
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

/** Resolves when `work` has settled, or after `atMostMs`. */
async function settled(work: Promise<unknown>, atMostMs: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, atMostMs);
  await Promise.race([work, late]);
  clearTimeout(timer);
}

function collect(stream: Readable | undefined, bytesMax: number) {
  const chunks: Buffer[] = [];
  let room = bytesMax;
  let dropped = false;
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  stream?.on('data', (chunk: Buffer) => {
    if (chunk.length > room) dropped = true;
    // A copy of the part: the chunk is a slice of a large slab.
    if (room > 0) chunks.push(Buffer.from(chunk.subarray(0, room)));
    room -= Math.min(room, chunk.length);
  });
  stream?.on('close', resolve);
  return { ended, truncated: () => dropped, take: () => Buffer.concat(chunks) };
}
