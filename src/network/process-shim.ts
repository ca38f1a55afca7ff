import { spawn } from 'node:child_process';

export interface RunOptions {
  readonly path: string;
  readonly args: readonly string[];
  readonly environment: readonly string[];
  readonly stdin: string;
  readonly stdoutBytesMax: number;
  readonly stderrBytesMax: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}
export interface RunResult {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly timedOut: boolean;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}
export function runProcess(o: RunOptions): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const env = Object.fromEntries(o.environment.map((e) => [e.slice(0, e.indexOf('=')), e.slice(e.indexOf('=') + 1)]));
    const child = spawn(o.path, [...o.args], {
      env,
      ...(o.signal ? { signal: o.signal } : {}),
      timeout: o.timeoutMs,
      killSignal: 'SIGKILL',
    });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (d: Buffer) => out.push(d));
    child.stderr.on('data', (d: Buffer) => err.push(d));
    child.on('error', reject);
    child.stdin.on('error', () => {});
    child.stdin.end(o.stdin);
    child.on('close', (code, signal) =>
      resolve({
        exitCode: code ?? undefined,
        signal: signal ?? undefined,
        timedOut: signal === 'SIGKILL',
        stdout: Buffer.concat(out),
        stderr: Buffer.concat(err),
      }),
    );
  });
}
