/** Runs a program of the host (iptables, ip) whose failure is either an answer or an expected error. */
import { CairnError } from '../base/errors.ts';
import { runProcess } from './process-shim.ts';

export interface CommandResult {
  readonly succeeded: boolean;
  /** What it said: stderr, else stdout. */
  readonly words: string;
}

const TIMEOUT_MS = 30_000;
const OUTPUT_BYTES_MAX = 256 * 1024;

export async function tryCommand(program: string, args: readonly string[], stdin = ''): Promise<CommandResult> {
  const { exitCode, stdout, stderr } = await runProcess({
    path: program,
    args,
    environment: Object.entries(process.env).map(([name, value]) => `${name}=${value ?? ''}`),
    stdin,
    stdoutBytesMax: OUTPUT_BYTES_MAX,
    stderrBytesMax: OUTPUT_BYTES_MAX,
    timeoutMs: TIMEOUT_MS,
  });
  const words = stderr.toString('utf8').trim() || stdout.toString('utf8').trim();
  return { succeeded: exitCode === 0, words };
}

/** As `tryCommand`, but a failure is FailedPrecondition with the program's own words. */
export async function runCommand(program: string, args: readonly string[], stdin = ''): Promise<void> {
  const { succeeded, words } = await tryCommand(program, args, stdin);
  if (succeeded) return;
  throw new CairnError('FailedPrecondition', `${[program, ...args].join(' ')}: ${words}`, { step: 'network.command' });
}
