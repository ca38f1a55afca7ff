/** Why a process that was killed is still there, for the message of a stop that does not end. */
import { readFile } from 'node:fs/promises';

/** `process 12 (sh) is in state D, waiting in nfs4_wait`; empty when there is no such process. */
export async function whyAlive(pid: number): Promise<string> {
  const [status, wait] = await Promise.all([read(`/proc/${pid}/status`), read(`/proc/${pid}/wchan`)]);
  const field = (name: string) => new RegExp(`^${name}:\\s*(.+)$`, 'm').exec(status)?.[1] ?? '?';
  if (status === '') return '';
  const waiting = wait === '' || wait === '0' ? '' : `, waiting in ${wait}`;
  return `process ${pid} (${field('Name')}) is in state ${field('State')}${waiting}`;
}

async function read(path: string): Promise<string> {
  return (await readFile(path, 'utf8').catch(() => '')).trim();
}
