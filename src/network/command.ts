/** Runs a program of the host (iptables, ip) whose failure is either an answer or an expected error. */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError } from '../base/errors.ts';
import { runProcess } from '../linux/index.ts';

export interface CommandResult {
  readonly succeeded: boolean;
  /** What it said: stderr, else stdout. */
  readonly words: string;
}

const TIMEOUT_MS = 30_000;
const OUTPUT_BYTES_MAX = 256 * 1024;
/** For a daemon that was started with a bare environment; plugins get the same. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** FailedPrecondition when the host does not have the program. */
export async function tryCommand(program: string, args: readonly string[], stdin = ''): Promise<CommandResult> {
  const path = process.env['PATH'] || DEFAULT_PATH;
  const { code, signal, stdout, stderr } = await runProcess({
    file: await findOnPath(program, path),
    args,
    env: { PATH: path, LC_ALL: 'C' },
    stdinData: stdin,
    outputBytesMax: OUTPUT_BYTES_MAX,
    timeoutMs: TIMEOUT_MS,
  });
  const words = stderr.toString('utf8').trim() || stdout.toString('utf8').trim();
  return { succeeded: code === 0 && signal === null, words };
}

/** As `tryCommand`, but a failure is FailedPrecondition with the program's own words. */
export async function runCommand(program: string, args: readonly string[], stdin = ''): Promise<void> {
  const { succeeded, words } = await tryCommand(program, args, stdin);
  if (succeeded) return;
  throw new CairnError('FailedPrecondition', `${[program, ...args].join(' ')}: ${words}`, { step: 'network.command' });
}

async function findOnPath(program: string, path: string): Promise<string> {
  for (const directory of path.split(':').filter(Boolean)) {
    const file = join(directory, program);
    const usable = await access(file, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (usable) return file;
  }
  throw new CairnError('FailedPrecondition', `the program ${program} is not installed (PATH is ${path})`, {
    step: 'network.command',
  });
}
