/** A command in a running container, run to its end without input or terminal: ExecSync. */
import { abortError, CairnError, throwIfAborted } from '../base/errors.ts';
import {
  atMost,
  type DetachedExec,
  type DetachedExecRequest,
  exitCodeOf,
  KILL_WAIT_MS,
  startDetachedExec,
} from './detached-exec.ts';
import type { ExecResult } from './index.ts';
import { BoundedOutput, drained } from './output.ts';

export interface ExecRequest extends DetachedExecRequest {
  /** 0: no limit. */
  readonly timeoutMs: number;
  readonly outputBytesMax: number;
  readonly signal: AbortSignal | undefined;
}

export async function execInTask(request: ExecRequest): Promise<ExecResult> {
  throwIfAborted(request.signal, 'task.exec');
  await using run = await startDetachedExec(request, { stdout: 'pipe', stderr: 'pipe' });
  if (!run.child.stdout || !run.child.stderr) throw new Error('spawnProcess gave no pipes');
  using stdout = new BoundedOutput(run.child.stdout, request.outputBytesMax);
  using stderr = new BoundedOutput(run.child.stderr, request.outputBytesMax);
  const exitCode = await untilEnd(request, run, stderr);
  await drained([stdout, stderr]);
  return { exitCode, stdout: stdout.bytes(), stderr: stderr.bytes(), truncated: stdout.truncated || stderr.truncated };
}

/** The exit code, or throws after everything was killed. */
async function untilEnd(request: ExecRequest, run: DetachedExec, stderr: BoundedOutput): Promise<number> {
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
  const finished = runToEnd(run, stderr);
  try {
    return await Promise.race([finished, stopped]);
  } catch (error) {
    await run.kill();
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

async function runToEnd(run: DetachedExec, stderr: BoundedOutput): Promise<number> {
  const command = await run.started(async () => {
    await drained([stderr]);
    return stderr.bytes().toString();
  });
  return exitCodeOf(command);
}
