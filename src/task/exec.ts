/**
 * A command in a running container, without a terminal.
 *
 * `RUNTIME exec --detach` ends when the command runs; the command is then our own child (we are a subreaper) and writes
 * into our pipes directly: no runtime process stays, none copies, none waits for a background child that keeps a pipe
 * open. The command runs in a cgroup of its own below the container's, so that it can be killed with all its
 * descendants, wherever they moved in sessions and process groups. What it leaves running belongs to the container.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { abortError, CairnError, throwIfAborted } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { type AdoptedProcess, adoptProcess, type ChildProcess, spawnProcess } from '../linux/index.ts';
import { createExecCgroup, type ExecCgroup } from './cgroups.ts';
import type { ExecResult, RuntimeHandler } from './index.ts';
import { BoundedOutput, drained } from './output.ts';
import { plainWords, RUNTIME_ENVIRONMENT, runtimeArguments } from './runtime.ts';

export interface ExecRequest {
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
  /** 0: no limit. */
  readonly timeoutMs: number;
  readonly outputBytesMax: number;
  readonly signal: AbortSignal | undefined;
}

const SIGKILL = 9;
const KILL_WAIT_MS = 2_000;

export async function execInTask(request: ExecRequest): Promise<ExecResult> {
  throwIfAborted(request.signal, 'task.exec');
  const files = { process: `${request.scratch}.json`, pid: `${request.scratch}.pid`, log: `${request.scratch}.log` };
  await using _scratch = {
    [Symbol.asyncDispose]: async () => {
      await Promise.all(Object.values(files).map((path) => rm(path, { force: true })));
    },
  };
  // The environment in it may hold secrets: only we read it, and it goes with the call.
  await writeFile(files.process, JSON.stringify(request.process), { mode: 0o600 });
  await using cgroup = await createExecCgroup(request.cgroup, request.name);
  await failpoint('task.exec.spawn');
  const child = spawnProcess({
    file: request.runtime.path,
    args: [
      ...runtimeArguments(request.runtime, files.log),
      ...['exec', '--detach', '--pid-file', files.pid, '--cgroup', cgroup.argument, '--process', files.process],
      request.id,
    ],
    env: RUNTIME_ENVIRONMENT,
    stdout: 'pipe',
    stderr: 'pipe',
  });
  if (!child.stdout || !child.stderr) throw new Error('spawnProcess gave no pipes');
  using stdout = new BoundedOutput(child.stdout, request.outputBytesMax);
  using stderr = new BoundedOutput(child.stderr, request.outputBytesMax);
  const exitCode = await untilEnd(request, { child, cgroup, files, stderr });
  await drained([stdout, stderr]);
  return { exitCode, stdout: stdout.bytes(), stderr: stderr.bytes(), truncated: stdout.truncated || stderr.truncated };
}

interface Run {
  readonly child: ChildProcess;
  readonly cgroup: ExecCgroup;
  readonly files: { readonly pid: string; readonly log: string };
  readonly stderr: BoundedOutput;
}

/** The exit code, or throws after everything was killed. */
async function untilEnd(request: ExecRequest, run: Run): Promise<number> {
  const { promise: stopped, reject: stop } = Promise.withResolvers<never>();
  const { timeoutMs, signal } = request;
  const timer =
    timeoutMs > 0 &&
    setTimeout(() => {
      const message = `the command did not end within ${timeoutMs / 1000} s and was killed`;
      stop(new CairnError('DeadlineExceeded', message, { step: 'task.exec' }));
    }, timeoutMs);
  const onAbort = () => {
    if (signal) stop(abortError(signal, 'task.exec'));
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  const finished = runToEnd(request, run);
  try {
    return await Promise.race([finished, stopped]);
  } catch (error) {
    await killRun(run);
    // Its own outcome no longer matters, only that its process is collected.
    await atMost(
      finished.catch(() => undefined),
      KILL_WAIT_MS,
    );
    throw error;
  } finally {
    if (timer) clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  }
}

/**
 * The runtime may be just about to start the command. It is let finish, or fail over its killed child: were it killed
 * itself, its child would become ours, unknown, and an unknown zombie in the container's PID namespace holds up the end of
 * that whole namespace.
 */
async function killRun({ child, cgroup }: Run): Promise<void> {
  await cgroup.kill();
  await atMost(child.exited, KILL_WAIT_MS);
  child.kill(SIGKILL, { group: true });
  await child.exited;
  await cgroup.kill();
}

async function runToEnd(request: ExecRequest, run: Run): Promise<number> {
  const { code } = await run.child.exited;
  const command = await adoptCommand(run.files.pid);
  if (code !== 0 || command === undefined) {
    await drained([run.stderr]);
    const words = await plainWords(run.files.log, run.stderr.bytes().toString());
    const message = `${request.runtime.name} exec: ${words === '' ? `failed with code ${code}` : words}`;
    throw new CairnError('Unknown', message, { step: 'task.exec' });
  }
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

async function atMost(work: Promise<unknown>, limitMs: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, limitMs);
  await Promise.race([work, late]);
  clearTimeout(timer);
}
