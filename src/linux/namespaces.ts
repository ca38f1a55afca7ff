/**
 * Namespaces without a process: made by a worker thread, pinned by bind mounts, so that a pod needs no pause process.
 *
 * A thread may leave its process's namespaces for a moment. The main thread never does, and neither does libuv's thread
 * pool, which inherits the namespaces of whoever starts it: it is started from the main thread before the first worker.
 * The worker ends when it was idle for five seconds.
 */
import { stat, unlink } from 'node:fs/promises';
import { Worker } from 'node:worker_threads';
import { CairnError, errnoOf } from '../base/errors.ts';
import { workerUrl } from '../base/worker-url.ts';
import { SystemError } from './errno.ts';
import { hostId, type IdMappings } from './id-mappings.ts';
import { bind, O_CLOEXEC } from './libc.ts';
import { unmount } from './mount.ts';
import type { NamespaceAnswer, NamespaceWork, SysctlSetting } from './namespace-worker.ts';
import { parseSysctl } from './sysctl.ts';
import { pinUserNamespace } from './user-namespace.ts';

export interface NamespaceRequest {
  /** Where to pin a fresh namespace of each kind: absolute, not there yet, in a directory that is. */
  readonly network?: string | undefined;
  readonly ipc?: string | undefined;
  readonly uts?: string | undefined;
  /** A user namespace that the others belong to. */
  readonly user?: { readonly path: string; readonly mappings: IdMappings } | undefined;
  /** Needs `uts`. */
  readonly hostname?: string | undefined;
  /** Each needs the namespace that owns it; anything else is InvalidArgument. */
  readonly sysctls?: Readonly<Record<string, string>> | undefined;
}

const IDLE_MS = 5000;

/**
 * Makes and pins the namespaces, with `lo` up in the network one. On failure nothing is left. A sysctl that the kernel
 * refuses is InvalidArgument.
 */
export async function createNamespaces(request: NamespaceRequest): Promise<void> {
  const sysctls = Object.entries(request.sysctls ?? {}).map(([name, value]) => checkSysctl(name, value, request));
  if (request.hostname !== undefined && request.uts === undefined) {
    throw new CairnError(
      'InvalidArgument',
      `hostname ${request.hostname}: would be the host's, for want of a namespace`,
    );
  }
  const { network, ipc, uts, user, hostname } = request;
  const pins = { network, ipc, uts };
  if (user === undefined) {
    if (network === undefined && ipc === undefined && uts === undefined) return;
    await submit({ request: { ...pins, hostname, sysctls, join: false, rootUid: 0 } });
    return;
  }
  await pinUserNamespace({ ...pins, user: user.path }, user.mappings);
  try {
    const rootUid = hostId(user.mappings.uids, 0) ?? 0;
    await submit({ request: { ...pins, hostname, sysctls, join: true, rootUid } });
  } catch (error) {
    for (const path of [network, ipc, uts, user.path]) if (path !== undefined) await removeNamespace(path);
    throw error;
  }
}

/** Unpins a namespace: it ends with the last process in it. No error when there is none. */
export async function removeNamespace(path: string): Promise<void> {
  // Each mount on top of another is undone; a pin has one, unless somebody pinned over it.
  while (await unmount(path, { detach: true })) {}
  try {
    await unlink(path);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

function checkSysctl(unsafeName: string, value: string, request: NamespaceRequest): SysctlSetting {
  const { name, path, namespace } = parseSysctl(unsafeName);
  if (namespace === undefined) {
    throw new CairnError('InvalidArgument', `sysctl ${name}: belongs to the whole machine, not to a namespace`);
  }
  if (request[namespace] === undefined) {
    throw new CairnError('InvalidArgument', `sysctl ${name}: the pod uses the host's ${namespace} namespace`);
  }
  return { namespace, name, path, value };
}

/** A non-blocking TCP socket of that namespace (undefined: ours), unconnected. Close it or give it to a stream. */
export async function socketInNamespace(path: string | undefined, family: number): Promise<number> {
  if (path === undefined) return socket(undefined, family, SOCK_STREAM | SOCK_NONBLOCK | O_CLOEXEC, 0);
  const { fd } = await submit({ socket: { path, family } });
  if (fd === undefined) throw new Error('the namespace worker made no socket');
  return fd;
}

/** Reads a small file of /proc or /sys as it is in that network namespace (`/proc/thread-self/net/dev`). */
export async function readInNetwork(path: string, file: string): Promise<string> {
  const { text } = await submit({ read: { path, file } });
  if (text === undefined) throw new Error('the namespace worker read nothing');
  return text;
}

const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const socket = bind('socket', ['int', 'int', 'int']);

interface Pending {
  readonly resolve: (answer: NamespaceAnswer) => void;
  readonly reject: (error: unknown) => void;
}

let worker: Worker | undefined;
let starting: Promise<unknown> | undefined;
let idleTimer: NodeJS.Timeout | undefined;
let lastJob = 0;
const pending = new Map<number, Pending>();

async function submit(work: NamespaceWork): Promise<NamespaceAnswer> {
  // Any asynchronous file system call starts the pool.
  starting ??= stat('/');
  await starting;
  clearTimeout(idleTimer);
  worker ??= startWorker();
  const id = ++lastJob;
  const { promise, resolve, reject } = Promise.withResolvers<NamespaceAnswer>();
  pending.set(id, { resolve, reject });
  worker.ref();
  worker.postMessage({ id, ...work });
  return await promise;
}

function startWorker(): Worker {
  const made = new Worker(workerUrl('./namespace-worker', import.meta.url), { name: 'cairn-ns' });
  made.on('message', (answer: NamespaceAnswer) => {
    settle(answer.id, answer.failure === undefined ? { answer } : { error: failureOf(answer.failure) });
    if (pending.size === 0) rest(made);
  });
  made.on('error', (error) => lost(made, error));
  made.on('exit', () =>
    lost(made, new CairnError('Internal', 'the namespace worker ended', { step: 'linux.unshare' })),
  );
  return made;
}

function settle(id: number, outcome: { readonly answer: NamespaceAnswer } | { readonly error: unknown }): void {
  const waiting = pending.get(id);
  pending.delete(id);
  if ('answer' in outcome) waiting?.resolve(outcome.answer);
  else waiting?.reject(outcome.error);
}

/** What a worker leaves undone when it dies fails; the next request starts another one. */
function lost(which: Worker, error: unknown): void {
  if (worker !== which) return;
  worker = undefined;
  for (const id of [...pending.keys()]) settle(id, { error });
}

function rest(which: Worker): void {
  which.unref();
  idleTimer = setTimeout(() => {
    if (worker !== which) return;
    worker = undefined;
    void which.terminate();
  }, IDLE_MS);
  idleTimer.unref();
}

function failureOf(failure: NonNullable<NamespaceAnswer['failure']>): Error {
  if (failure.type === 'system') return new SystemError(failure.errno, failure.syscall, failure.path);
  if (failure.type === 'sysctl') {
    const message = `sysctl ${failure.name}=${failure.value}: the kernel says ${failure.code}`;
    return new CairnError('InvalidArgument', message, { step: 'linux.sysctl' });
  }
  return new Error(failure.message);
}
