/**
 * The thread that leaves for other namespaces and comes back (see namespaces.ts). Everything here is synchronous, so one
 * job never sees another's namespaces. If it can't come back it ends: its thread must not be used for anything else.
 */
import { closeSync, constants, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { errnoOf, messageOf } from '../base/errors.ts';
import { SystemError } from './errno.ts';
import { bind, closeDescriptor, O_CLOEXEC, room } from './libc.ts';
import { bindMount, unmountSync } from './mount.ts';
import type { SysctlNamespace } from './sysctl.ts';

export interface SysctlSetting {
  readonly namespace: SysctlNamespace;
  readonly name: string;
  readonly path: string;
  readonly value: string;
}

/** Makes and pins namespaces; with `join`, sets up those that are pinned already. */
export interface CreateRequest {
  readonly network: string | undefined;
  readonly ipc: string | undefined;
  readonly uts: string | undefined;
  readonly hostname: string | undefined;
  readonly sysctls: readonly SysctlSetting[];
  readonly join: boolean;
  /** Who root of the user namespace is that they belong to; 0 without one. */
  readonly rootUid: number;
}

/** Makes a TCP socket in a pinned network namespace. */
export interface SocketRequest {
  readonly path: string;
  readonly family: number;
}

/** Reads a small file of /proc or /sys as it is in a pinned network namespace. */
export interface ReadRequest {
  readonly path: string;
  readonly file: string;
}

export type NamespaceWork =
  | { readonly request: CreateRequest }
  | { readonly socket: SocketRequest }
  | { readonly read: ReadRequest };

export type NamespaceJob = { readonly id: number } & NamespaceWork;

export interface NamespaceAnswer {
  readonly id: number;
  /** The socket. Descriptors belong to the process, whichever thread made them. */
  readonly fd?: number;
  /** What was read. */
  readonly text?: string;
  readonly failure?:
    | { readonly type: 'system'; readonly errno: number; readonly syscall: string; readonly path: string | undefined }
    | { readonly type: 'sysctl'; readonly name: string; readonly value: string; readonly code: string }
    | { readonly type: 'bug'; readonly message: string };
}

const KINDS = [
  { key: 'uts', file: 'uts', flag: 0x04000000 },
  { key: 'ipc', file: 'ipc', flag: 0x08000000 },
  { key: 'network', file: 'net', flag: 0x40000000 },
] as const;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_NONBLOCK = 0o4000;
const CLONE_NEWNET = 0x40000000;
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;

const unshare = bind('unshare', ['int']);
const setns = bind('setns', ['int', 'int']);
const SYS_SETRESUID = process.arch === 'arm64' ? 147 : 117;
const UNCHANGED = 0xffffffff;
const PR_SET_DUMPABLE = 4;
const setresuid = bind('syscall', ['long', 'long', 'long', 'long'], 'long');
const prctl = bind('prctl', ['int', 'long', 'long', 'long', 'long']);
const sethostname = bind('sethostname', ['pointer', 'long']);
const socket = bind('socket', ['int', 'int', 'int']);
const ioctl = bind('ioctl', ['int', 'long', 'pointer']);

class SysctlRefused extends Error {
  readonly setting: SysctlSetting;
  readonly code: string;

  constructor(setting: SysctlSetting, code: string) {
    super(`${setting.name}: ${code}`);
    this.setting = setting;
    this.code = code;
  }
}

const home = KINDS.map((kind) => openSync(`/proc/thread-self/ns/${kind.file}`, constants.O_RDONLY));

parentPort?.on('message', (job: NamespaceJob) => {
  const { id } = job;
  let answer: NamespaceAnswer = { id };
  try {
    if ('socket' in job) answer = { id, fd: makeSocket(job.socket) };
    else if ('read' in job) answer = { id, text: readFileIn(job.read) };
    else create(job.request);
  } catch (error) {
    answer = { id, failure: describe(error) };
  } finally {
    returnHome();
  }
  parentPort?.postMessage(answer);
});

function readFileIn({ path, file }: ReadRequest): string {
  enterNetwork(path);
  return readFileSync(file, 'latin1');
}

function enterNetwork(path: string): void {
  enter(path, CLONE_NEWNET);
}

function enter(path: string, flag: number): void {
  const namespace = openSync(path, constants.O_RDONLY);
  try {
    setns(path, namespace, flag);
  } finally {
    closeSync(namespace);
  }
}

function makeSocket({ path, family }: SocketRequest): number {
  enterNetwork(path);
  return socket(undefined, family, SOCK_STREAM | SOCK_NONBLOCK | O_CLOEXEC, 0);
}

function create(request: CreateRequest): void {
  const kinds = KINDS.filter((kind) => request[kind.key] !== undefined);
  if (request.join) {
    for (const { key, flag } of kinds) enter(request[key] ?? '', flag);
  } else {
    unshare(
      undefined,
      kinds.reduce((flags, kind) => flags | kind.flag, 0),
    );
  }
  if (request.hostname !== undefined) {
    const name = Buffer.from(request.hostname);
    sethostname(request.hostname, name, name.length);
  }
  if (request.network !== undefined) bringUpLoopback();
  for (const setting of request.sysctls) {
    // Of these the kernel asks for the owner; for the others the capability is enough.
    if (setting.namespace === 'ipc' && request.rootUid !== 0) asUser(request.rootUid, () => writeSysctl(setting));
    else writeSysctl(setting);
  }
  if (request.join) return;
  const pinned: string[] = [];
  try {
    for (const kind of kinds) {
      const path = request[kind.key];
      if (path === undefined) continue;
      closeSync(openSync(path, constants.O_RDONLY | constants.O_CREAT | constants.O_EXCL, 0o444));
      pinned.push(path);
      bindMount(`/proc/thread-self/ns/${kind.file}`, path);
    }
  } catch (error) {
    for (const path of pinned) {
      unmountSync(path, { detach: true });
      unlinkSync(path);
    }
    throw error;
  }
}

/** The socket belongs to the namespace that it was made in, whatever its family. */
function bringUpLoopback(): void {
  const fd = socket(undefined, AF_UNIX, SOCK_DGRAM | O_CLOEXEC, 0);
  try {
    // struct ifreq: char name[16], then a union whose first member here is s16 flags.
    const request = room(40);
    request.write('lo');
    ioctl('lo', fd, SIOCGIFFLAGS, request);
    request.writeInt16LE(request.readInt16LE(16) | IFF_UP, 16);
    ioctl('lo', fd, SIOCSIFFLAGS, request);
  } finally {
    closeDescriptor(fd);
  }
}

function writeSysctl(setting: SysctlSetting): void {
  try {
    // Without O_CREAT: procfs must not be asked to make a file.
    writeFileSync(`/proc/sys/${setting.path}`, setting.value, { flag: 'r+' });
  } catch (error) {
    throw new SysctlRefused(setting, errnoOf(error) ?? messageOf(error));
  }
}

/** The system call itself: libc's function would change the whole process. */
function asUser(uid: number, work: () => void): void {
  setresuid('user', SYS_SETRESUID, UNCHANGED, uid, UNCHANGED);
  try {
    work();
  } finally {
    try {
      setresuid('root', SYS_SETRESUID, UNCHANGED, 0, UNCHANGED);
      // The kernel takes this away from who changes its user; then nobody could trace or dump the daemon.
      prctl('dumpable', PR_SET_DUMPABLE, 1, 0, 0, 0);
    } catch {
      process.exit(1);
    }
  }
}

function returnHome(): void {
  try {
    for (const fd of home) setns(undefined, fd, 0);
  } catch {
    process.exit(1);
  }
}

function describe(error: unknown): NonNullable<NamespaceAnswer['failure']> {
  if (error instanceof SysctlRefused) {
    return { type: 'sysctl', name: error.setting.name, value: error.setting.value, code: error.code };
  }
  if (error instanceof SystemError) {
    return { type: 'system', errno: error.errno, syscall: error.syscall, path: error.path };
  }
  if (error instanceof Error && 'errno' in error && 'syscall' in error && typeof error.errno === 'number') {
    // Node's own, whose errno is negative.
    const path = 'path' in error ? String(error.path) : undefined;
    return { type: 'system', errno: -error.errno, syscall: String(error.syscall), path };
  }
  return { type: 'bug', message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
}
