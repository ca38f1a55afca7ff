/**
 * A command in a running container whose streams stay open: see detached-exec.ts for how it runs.
 *
 * With a terminal the runtime makes it inside the container (so that /dev/pts and `tty` are right there) and sends us its
 * master; no process of ours or the runtime's stays in between.
 */
import { basename, dirname } from 'node:path';
import type { Writable } from 'node:stream';
import { abortError, throwIfAborted } from '../base/errors.ts';
import { type AdoptedProcess, PtyMaster, receiveDescriptor } from '../linux/index.ts';
import {
  atMost,
  type DetachedExec,
  type DetachedExecRequest,
  type DetachedExecStreams,
  exitCodeOf,
  KILL_WAIT_MS,
  startDetachedExec,
} from './detached-exec.ts';
import { pipeOutput, terminalOutput } from './exec-output.ts';
import type { OpenExec, OpenExecOptions, TerminalSize } from './index.ts';

export interface OpenExecRequest extends DetachedExecRequest {
  readonly options: OpenExecOptions;
}

export async function openExecInTask(request: OpenExecRequest): Promise<OpenExec> {
  const { options } = request;
  throwIfAborted(options.signal, 'task.exec');
  await using stack = new AsyncDisposableStack();
  const receiver = options.terminal
    ? stack.use(receiveDescriptor(dirname(request.scratch), `${basename(request.scratch)}.tty`))
    : undefined;
  const run = stack.use(await startDetachedExec(request, streamsOf(options, receiver?.path)));
  stack.defer(() => {
    run.child.stdin?.destroy();
    run.child.stdout?.destroy();
    run.child.stderr?.destroy();
  });
  const command = await startedUnlessAborted(run, options.signal);
  const exitCode = exitCodeOf(command);
  const ended = exitCode.then(
    () => {},
    () => {},
  );
  let isRunning = true;
  void ended.then(() => {
    isRunning = false;
  });
  const stop = async () => {
    if (!isRunning) return;
    await run.kill();
    // Until its process is collected.
    await atMost(ended, KILL_WAIT_MS);
  };
  stack.defer(stop);
  const streams = receiver === undefined ? pipes(run, ended) : terminal(stack, receiver.take(), options, ended);
  const owned = stack.move();
  return {
    ...{ ...streams, exitCode },
    // Before the terminal goes: its hangup would end some of the processes in their own way.
    [Symbol.asyncDispose]: () => stop().finally(() => owned.disposeAsync()),
  };
}

function streamsOf(options: OpenExecOptions, consoleSocket: string | undefined): DetachedExecStreams {
  if (consoleSocket !== undefined) return { consoleSocket };
  return {
    stdin: options.stdin ? 'pipe' : 'null',
    stdout: options.stdout ? 'pipe' : 'null',
    stderr: options.stderr ? 'pipe' : 'null',
  };
}

/** A command that nobody waits for any more when it has started is killed. */
async function startedUnlessAborted(run: DetachedExec, signal: AbortSignal | undefined): Promise<AdoptedProcess> {
  const onAbort = () => void run.kill();
  signal?.addEventListener('abort', onAbort, { once: true });
  let command: AdoptedProcess;
  try {
    command = await run.started();
  } catch (error) {
    throwIfAborted(signal, 'task.exec');
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
  if (signal?.aborted) {
    await run.kill();
    await atMost(command.exited, KILL_WAIT_MS);
    throw abortError(signal, 'task.exec');
  }
  return command;
}

type Streams = Pick<OpenExec, 'stdin' | 'stdout' | 'stderr' | 'resize'>;

function pipes({ child }: DetachedExec, ended: Promise<void>): Streams {
  return {
    stdin: child.stdin,
    stdout: child.stdout && pipeOutput(child.stdout, ended),
    stderr: child.stderr && pipeOutput(child.stderr, ended),
    resize: async () => {},
  };
}

function terminal(
  stack: AsyncDisposableStack,
  masterFd: number,
  options: OpenExecOptions,
  ended: Promise<void>,
): Streams {
  const master = stack.use(new PtyMaster(masterFd));
  const stdin: Writable | undefined = options.stdin ? master.input : undefined;
  return {
    stdin,
    stdout: terminalOutput(master, ended),
    stderr: undefined,
    resize: async (size: TerminalSize) => master.resize(size),
  };
}
