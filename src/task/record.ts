/** What is written down of a task, so that a daemon that comes after this one knows its processes again. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { errnoOf } from '../base/errors.ts';
import { parseStat } from '../linux/index.ts';

export interface TaskRecord {
  readonly pid: number;
  readonly monitorPid: number;
  /** Clock ticks since boot: with the number, a process for good. Undefined when it had ended before it could be asked. */
  readonly startTime: bigint | undefined;
  readonly monitorStartTime: bigint | undefined;
  /** `RUNTIME start` has succeeded. */
  readonly started: boolean;
}

/** No fsync: the state directory does not outlive the kernel whose processes these are. */
export async function writeRecord(path: string, record: TaskRecord): Promise<void> {
  const text = JSON.stringify(record, (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
  await writeFile(`${path}.tmp`, text, { mode: 0o600 });
  await rename(`${path}.tmp`, path);
}

/** Undefined when there is none, or none that could have been written whole. */
export async function readRecord(path: string): Promise<TaskRecord | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  return parseRecord(text);
}

export function parseRecord(text: string): TaskRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { pid, monitorPid, startTime, monitorStartTime, started } = value as Partial<Record<keyof TaskRecord, unknown>>;
  if (!isPid(pid) || !isPid(monitorPid) || typeof started !== 'boolean') return undefined;
  return { pid, monitorPid, started, startTime: ticks(startTime), monitorStartTime: ticks(monitorStartTime) };
}

function isPid(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value > 0;
}

function ticks(value: unknown): bigint | undefined {
  return typeof value === 'string' && /^\d+$/.test(value) ? BigInt(value) : undefined;
}

/** False also for a zombie, which PID 1 may leave for a while. */
export async function isMonitorRunning({ monitorPid, monitorStartTime }: TaskRecord): Promise<boolean> {
  const text = await readFile(`/proc/${monitorPid}/stat`, 'latin1').catch(() => '');
  if (text === '') return false;
  const { startTime, state } = parseStat(text);
  return startTime === monitorStartTime && state !== 'Z' && state !== 'X';
}
