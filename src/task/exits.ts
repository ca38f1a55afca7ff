/**
 * How a task ended.
 *
 * conmon writes the exit file (temporary file, rename) before it ends, so the end of conmon says that it is there; if it
 * is not, the monitor was lost. Then the exit is recorded in its place, for whoever asks later.
 */
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { TaskExit } from './index.ts';
import { wasOomKilled } from './oom.ts';
import type { TaskPaths } from './paths.ts';

/** The exit code of a task whose own is unknown. */
export const LOST_EXIT_CODE = 255;

/** Undefined while the task has not ended. `cgroupsPath` is asked for OOM kills that conmon did not notice. */
export async function readExit(paths: TaskPaths, cgroupsPath: string): Promise<TaskExit | undefined> {
  let text: string;
  let finishedAtNs: bigint;
  try {
    [text, { mtimeNs: finishedAtNs }] = await Promise.all([
      readFile(paths.exitFile, 'utf8'),
      stat(paths.exitFile, { bigint: true }),
    ]);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const [reason, oomKilled] = await Promise.all([readReason(paths.reasonFile), wasOomKilled(paths, cgroupsPath)]);
  const exitCode = parseExitCode(text);
  if (exitCode === undefined) {
    return {
      exitCode: LOST_EXIT_CODE,
      finishedAtNs,
      oomKilled,
      reason: `conmon wrote ${JSON.stringify(text)} as exit code`,
    };
  }
  return { exitCode, finishedAtNs, oomKilled, ...(reason !== undefined && { reason }) };
}

/** 0-255; conmon writes -1 when it does not know. */
export function parseExitCode(text: string): number | undefined {
  const code = /^\d{1,3}$/.test(text.trim()) ? Number(text) : Number.NaN;
  return code <= 255 ? code : undefined;
}

/** The reason first: an exit file of ours never lacks it. */
export async function writeLostExit(paths: TaskPaths, reason: string): Promise<void> {
  // Whoever took the directory away must not keep the container from being removed.
  await mkdir(dirname(paths.reasonFile), { recursive: true, mode: 0o700 });
  await writeFile(paths.reasonFile, reason, { mode: 0o600 });
  await failpoint('task.exit.lost');
  const temporary = `${paths.exitFile}.tmp`;
  await writeFile(temporary, String(LOST_EXIT_CODE), { mode: 0o600 });
  await rename(temporary, paths.exitFile);
}

async function readReason(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
