/** Looking at the host: files that may not be there, programs that may not be installed. Nothing here changes anything. */
import { execFile } from 'node:child_process';
import { access, constants, readdir, readFile, stat } from 'node:fs/promises';
import { delimiter, dirname, join } from 'node:path';
import { messageOf } from '../../base/errors.ts';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const TIMEOUT_MS = 10_000;
const OUTPUT_BYTES_MAX = 1024 * 1024;

/** The trimmed text of a file; undefined when it can't be read. */
export async function readText(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  );
}

export async function listNames(directory: string): Promise<string[] | undefined> {
  return readdir(directory).catch(() => undefined);
}

export async function isThere(path: string): Promise<boolean> {
  return passes(access(path));
}

export async function isWritable(path: string): Promise<boolean> {
  return passes(access(path, constants.W_OK));
}

/** The path itself, or its nearest ancestor that exists. */
export async function nearestExisting(path: string): Promise<string> {
  for (let candidate = path; ; candidate = dirname(candidate)) {
    if (candidate === dirname(candidate) || (await passes(stat(candidate)))) return candidate;
  }
}

/** Where a program is: an absolute path as it stands, a name as PATH has it; undefined when it can't be executed. */
export async function findProgram(program: string): Promise<string | undefined> {
  const directories = `${process.env['PATH'] ?? ''}${delimiter}${DEFAULT_PATH}`.split(delimiter).filter(Boolean);
  const candidates = program.startsWith('/') ? [program] : directories.map((directory) => join(directory, program));
  for (const candidate of candidates) {
    if (await passes(access(candidate, constants.X_OK))) return candidate;
  }
  return undefined;
}

export interface Output {
  readonly succeeded: boolean;
  readonly stdout: string;
  /** What it said when it failed. */
  readonly words: string;
}

/** Runs a program to its end. Never throws: a program that can't run is an output that did not succeed. */
export function run(file: string, args: readonly string[], environment: Record<string, string> = {}): Promise<Output> {
  const options = {
    env: { ...process.env, LC_ALL: 'C', ...environment },
    timeout: TIMEOUT_MS,
    maxBuffer: OUTPUT_BYTES_MAX,
    encoding: 'utf8' as const,
  };
  return new Promise((resolve) => {
    const child = execFile(file, args, options, (error, stdout, stderr) => {
      const words = error ? stderr.trim() || stdout.trim() || messageOf(error) : '';
      resolve({ succeeded: error === null, stdout: stdout.trim(), words });
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end();
  });
}

function passes(attempt: Promise<unknown>): Promise<boolean> {
  return attempt.then(
    () => true,
    () => false,
  );
}
