/** The processes of a container: how many, and what they have open. */
import { readdir, readlink } from 'node:fs/promises';
import { type CgroupDirectories, isAbsent, readLimit, readNumber, readText } from './cgroup-files.ts';

export interface Tasks {
  /** Tasks of the cgroup: threads. Undefined without the `pids` controller. */
  readonly threads: number | undefined;
  /** Undefined: no limit. */
  readonly threadsMax: number | undefined;
}

export interface OpenFiles {
  readonly descriptors: number;
  /** Undefined where there are too many descriptors to look at each. */
  readonly sockets: number | undefined;
}

/** A container with more processes than this has its descriptors not counted: it would cost more than it tells. */
const PROCESSES_MAX = 256;
/** Which of them are sockets is told by reading a link for each. */
const LINKS_MAX = 1024;

export async function readTasks(cgroup: CgroupDirectories): Promise<Tasks> {
  const directory = cgroup['pids'] ?? cgroup['unified'];
  const [threads, threadsMax] = await Promise.all([
    readNumber(directory, 'pids.current'),
    readLimit(directory, 'pids.max'),
  ]);
  return { threads, threadsMax };
}

/** The processes in a cgroup and below; one hierarchy suffices, since they are the same in each. */
export async function readProcesses(cgroup: CgroupDirectories): Promise<number[]> {
  const directory = cgroup['pids'] ?? cgroup['memory'] ?? cgroup['unified'];
  return directory === undefined ? [] : await processesBelow(directory);
}

async function processesBelow(directory: string): Promise<number[]> {
  const [text = '', children] = await Promise.all([readText(directory, 'cgroup.procs'), directoriesIn(directory)]);
  const below = await Promise.all(children.map((name) => processesBelow(`${directory}/${name}`)));
  return [...text.split('\n').filter(Boolean).map(Number), ...below.flat()];
}

async function directoriesIn(directory: string): Promise<string[]> {
  const entries = await orNone(readdir(directory, { withFileTypes: true }));
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

export async function readOpenFiles(pids: readonly number[]): Promise<OpenFiles | undefined> {
  if (pids.length > PROCESSES_MAX) return undefined;
  const paths: string[] = [];
  for (const pid of pids) {
    for (const descriptor of await orNone(readdir(`/proc/${pid}/fd`))) paths.push(`/proc/${pid}/fd/${descriptor}`);
  }
  if (paths.length > LINKS_MAX) return { descriptors: paths.length, sockets: undefined };
  let sockets = 0;
  for (const path of paths) if ((await readLink(path)).startsWith('socket:')) sockets++;
  return { descriptors: paths.length, sockets };
}

async function readLink(path: string): Promise<string> {
  try {
    return await readlink(path);
  } catch (error) {
    if (isAbsent(error)) return '';
    throw error;
  }
}

async function orNone<T>(list: Promise<T[]>): Promise<T[]> {
  try {
    return await list;
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

/** The soft limit of open files; undefined when it is unlimited or the process is gone. */
export async function readOpenFilesLimit(pid: number): Promise<number | undefined> {
  return parseOpenFilesLimit((await readText(`/proc/${pid}`, 'limits')) ?? '');
}

export function parseOpenFilesLimit(limits: string): number | undefined {
  const soft = /^Max open files\s+(\d+)\s/m.exec(limits)?.[1];
  return soft === undefined ? undefined : Number(soft);
}
