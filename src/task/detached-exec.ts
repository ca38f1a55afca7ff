/**
 * Starting a command in a running container and knowing its end: what ExecSync and streamed execs share.
 *
 * `RUNTIME exec --detach` ends when the command runs; the command is then our own child (we are a subreaper) and has our
 * pipes or its terminal directly: no runtime process stays, none copies, none waits for a background child that keeps a
 * pipe open. The command runs in a cgroup of its own below the container's, so that it can be killed with all its
 * descendants, wherever they moved in sessions and process groups. What it leaves running belongs to the container.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import {
  type AdoptedProcess,
  adoptProcess,
  type ChildProcess,
  type ChildStream,
  spawnProcess,
} from '../linux/index.ts';
import { createExecCgroup } from './cgroups.ts';
import type { RuntimeHandler, StdioOwner } from './index.ts';
import { plainWords, RUNTIME_ENVIRONMENT, runtimeArguments } from './runtime.ts';

export interface DetachedExecRequest {
  readonly runtime: RuntimeHandler;
  readonly id: string;
  /** The container's. */
  readonly cgroup: string;
  /** `process` of the OCI runtime spec. */
  readonly process: object;
  /** Files of this one call begin with it. */
  readonly scratch: string;
  /** Unique among the container's execs. */
  readonly name: string;
  readonly stdioOwner: StdioOwner | undefined;
}

export interface DetachedExecStreams {
  readonly stdin?: ChildStream;
  readonly stdout?: ChildStream;
  readonly stderr?: ChildStream;
  /** Where the runtime sends the master of the terminal that `process` asks for. */
  readonly consoleSocket?: string;
}

/** Disposing leaves what still runs to the container, and removes the call's files and cgroup. */
export interface DetachedExec extends AsyncDisposable {
  /** The runtime's process; its pipes are the command's. */
  readonly child: ChildProcess;
  /**
   * The command runs. Throws (`Unknown`) what the runtime's log says, else what `standardError` has, when it does not.
   */
  started(standardError?: () => Promise<string>): Promise<AdoptedProcess>;
  /** Kills the command and its descendants; returns when its runtime has ended. */
  kill(): Promise<void>;
}

const SIGKILL = 9;
export const KILL_WAIT_MS = 2_000;

export async function startDetachedExec(
  request: DetachedExecRequest,
  streams: DetachedExecStreams,
): Promise<DetachedExec> {
  const { runtime, scratch } = request;
  const files = { process: `${scratch}.json`, pid: `${scratch}.pid`, log: `${scratch}.log` };
  await using stack = new AsyncDisposableStack();
  stack.defer(async () => {
    await Promise.all(Object.values(files).map((path) => rm(path, { force: true })));
  });
  // The environment in it may hold secrets: only we read it, and it goes with the call.
  await writeFile(files.process, JSON.stringify(request.process), { mode: 0o600 });
  const cgroup = stack.use(await createExecCgroup(request.cgroup, request.name));
  await failpoint('task.exec.spawn');
  const { consoleSocket, ...stdio } = streams;
  const child = spawnProcess({
    file: runtime.path,
    args: [
      ...runtimeArguments(runtime, files.log),
      ...['exec', '--detach', '--pid-file', files.pid, '--cgroup', cgroup.argument, '--process', files.process],
      ...(consoleSocket === undefined ? [] : ['--console-socket', consoleSocket]),
      request.id,
    ],
    env: RUNTIME_ENVIRONMENT,
    pipeOwner: request.stdioOwner,
    ...stdio,
  });
  const owned = stack.move();
  return {
    child,
    async started(standardError = async () => '') {
      const { code } = await child.exited;
      const command = await adoptCommand(files.pid);
      if (code === 0 && command !== undefined) return command;
      const words = await plainWords(files.log, await standardError());
      const message = `${runtime.name} exec: ${words === '' ? `failed with code ${code}` : words}`;
      throw new CairnError('Unknown', message, { step: 'task.exec' });
    },
    /**
     * The runtime may be just about to start the command. It is let finish, or fail over its killed child: were it killed
     * itself, its child would become ours, unknown, and an unknown zombie in the container's PID namespace holds up the
     * end of that whole namespace.
     */
    async kill() {
      await cgroup.kill();
      await atMost(child.exited, KILL_WAIT_MS);
      child.kill(SIGKILL, { group: true });
      await child.exited;
      await cgroup.kill();
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The exit code as shells count it. */
export async function exitCodeOf(command: AdoptedProcess): Promise<number> {
  const exit = await command.exited;
  if (exit === undefined) {
    throw new CairnError('Unknown', `the exit code of process ${command.pid} was lost`, { step: 'task.exec' });
  }
  return exit.code ?? 128 + (exit.signal ?? 0);
}

async function adoptCommand(pidFile: string): Promise<AdoptedProcess | undefined> {
  const text = await readFile(pidFile, 'utf8').catch(() => '');
  return /^\d+$/.test(text) ? adoptProcess(Number(text)) : undefined;
}

/** Resolves when `work` has, or after the time. */
export async function atMost(work: Promise<unknown>, limitMs: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, limitMs);
  await Promise.race([work, late]);
  clearTimeout(timer);
}
