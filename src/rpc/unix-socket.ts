/** Listening on a unix socket that only root may connect to, in the place of one that a dead process left. */
import { lstat, mkdir, rm } from 'node:fs/promises';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import { CairnError, errnoOf, messageOf } from '../base/errors.ts';

const STEP = 'rpc.listen';
/** `sun_path` has 108 bytes, the last one for NUL. */
const PATH_BYTES_MAX = 107;
/** Nobody but the owner may read or write the socket; connecting needs write permission. */
const OWNER_ONLY_UMASK = 0o177;

/** The path in `unix:///path`. */
export function unixSocketPath(address: string): string {
  const path = /^unix:(?:\/\/)?(\/[^/].*)$/.exec(address)?.[1];
  if (path === undefined) {
    throw new CairnError('InvalidArgument', `listen: ${JSON.stringify(address)} is not of the form unix:///path`, {
      step: STEP,
    });
  }
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) {
    throw new CairnError(
      'InvalidArgument',
      `listen: ${path} is longer than the ${PATH_BYTES_MAX} bytes of a socket's name`,
      {
        step: STEP,
      },
    );
  }
  return path;
}

/** FailedPrecondition when somebody listens there, or when something else than a socket is in the way. */
export async function listenOnUnixSocket(path: string, onConnection: (socket: Socket) => void): Promise<Server> {
  await mkdir(dirname(path), { recursive: true, mode: 0o711 });
  await clearStaleSocket(path);
  const server = createServer(onConnection);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      reject(new CairnError('FailedPrecondition', `listen: ${messageOf(error)}`, { step: STEP, cause: error }));
    });
    // `listen` binds before it returns, so no other code runs under this umask, and the socket is never open to others.
    const umask = process.umask(OWNER_ONLY_UMASK);
    try {
      server.listen({ path, backlog: 1024 }, resolve);
    } finally {
      process.umask(umask);
    }
  });
  return server;
}

async function clearStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch((error) => {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (!found) return;
  if (!found.isSocket()) {
    throw new CairnError('FailedPrecondition', `listen: ${path} is there and is no socket`, { step: STEP });
  }
  if (await isAlive(path)) {
    throw new CairnError('FailedPrecondition', `listen: another process listens on ${path}`, { step: STEP });
  }
  await rm(path, { force: true });
}

/** Only a refused connection proves that nobody listens. */
function isAlive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(path);
    probe.once('connect', () => resolve(true));
    probe.once('error', (error) => resolve(!['ECONNREFUSED', 'ENOENT'].includes(errnoOf(error) ?? '')));
    probe.once('close', () => probe.removeAllListeners());
    probe.once('connect', () => probe.destroy());
  });
}
