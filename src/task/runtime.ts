/** Calling the OCI runtime (runc), and understanding what it says. */
import { readFile, rm } from 'node:fs/promises';
import { CairnError, errnoOf } from '../base/errors.ts';
import { stage } from '../base/stages.ts';
import { type RunResult, runProcess } from '../linux/index.ts';
import type { RuntimeHandler } from './index.ts';

const OUTPUT_BYTES_MAX = 1024 * 1024;

export interface RuntimeCall {
  /** `start`, `delete`, ...: also the step's name in errors. */
  readonly verb: string;
  readonly args: readonly string[];
  /** The runtime appends its messages here. */
  readonly logPath: string;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** The arguments that come before the verb. */
export function runtimeArguments(runtime: RuntimeHandler, logPath: string): string[] {
  return ['--root', runtime.rootDirectory, '--log', logPath, '--log-format', 'json'];
}

/** All that conmon and the runtime (and its hooks) see of our environment. */
export const RUNTIME_ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
};

/** Runs the runtime to its end; what it says of a failure is thrown (`Unknown`). */
export function callRuntime(runtime: RuntimeHandler, call: RuntimeCall): Promise<RunResult> {
  return stage('task.runtime', () => runToEnd(runtime, call), { detail: `${runtime.name} ${call.verb}` });
}

async function runToEnd(runtime: RuntimeHandler, call: RuntimeCall): Promise<RunResult> {
  const result = await runProcess({
    file: runtime.path,
    args: [...runtimeArguments(runtime, call.logPath), call.verb, ...call.args],
    env: RUNTIME_ENVIRONMENT,
    timeoutMs: call.timeoutMs,
    outputBytesMax: OUTPUT_BYTES_MAX,
    signal: call.signal,
  });
  if (result.code === 0) return result;
  const words = await plainWords(call.logPath, result.stderr.toString());
  const how = result.code === null ? `was ended by signal ${result.signal}` : `failed with code ${result.code}`;
  throw new CairnError('Unknown', `${runtime.name} ${call.verb}: ${words === '' ? how : words}`, {
    step: `task.${call.verb}`,
  });
}

/** What the runtime's own log names as the error, else what was on its standard error; without the usual preamble. */
export async function plainWords(logPath: string, standardError: string): Promise<string> {
  return withoutPreamble(lastError(await readLog(logPath)) ?? standardError.trim());
}

async function readLog(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}

/** The door for the runtime's log: JSON lines with `level` and `msg`. */
export function lastError(log: string): string | undefined {
  for (const line of log.split('\n').reverse()) {
    if (line === '') continue;
    let entry: unknown;
    try {
      entry = JSON.parse(line);
    } catch {
      continue;
    }
    if (typeof entry !== 'object' || entry === null || !('level' in entry) || !('msg' in entry)) continue;
    if ((entry.level === 'error' || entry.level === 'fatal') && typeof entry.msg === 'string') return entry.msg.trim();
  }
  return undefined;
}

/** `runc create failed: unable to start container process: exec: "x": ...` -> `exec: "x": ...`. */
export function withoutPreamble(words: string): string {
  return words.replace(
    /^(?:(?:runc )?(?:create|run|start|exec|restore) failed: )?(?:unable to start container process: )?/,
    '',
  );
}

/** True when the runtime knows the container (it need not be alive). */
export async function runtimeStatus(
  runtime: RuntimeHandler,
  id: string,
  options: { logPath: string; timeoutMs: number },
): Promise<'created' | 'running' | 'stopped' | undefined> {
  let text: string;
  try {
    const result = await callRuntime(runtime, { verb: 'state', args: [id], ...options });
    text = result.stdout.toString();
  } catch (error) {
    if (error instanceof CairnError && error.kind === 'Unknown') return undefined;
    throw error;
  } finally {
    await rm(options.logPath, { force: true });
  }
  const state: unknown = JSON.parse(text);
  if (typeof state !== 'object' || state === null || !('status' in state)) return undefined;
  return state.status === 'created' ? 'created' : state.status === 'stopped' ? 'stopped' : 'running';
}
