/**
 * A TCP connection to a port on the loopback address of any network namespace, without a process in it.
 *
 * A socket belongs for good to the namespace that it was made in: a worker thread makes it there (see namespaces.ts) and
 * leaves the number of the descriptor, which the whole process shares; everything else happens here.
 */
import { Socket } from 'node:net';
import { abortError, CairnError, errnoOf, throwIfAborted } from '../base/errors.ts';
import { errnoName } from './errno.ts';
import { bind, bindRaw, lastErrno, room } from './libc.ts';
import { socketInNamespace } from './namespaces.ts';
import { duplicate } from './pipe.ts';
import { PolledDescriptor } from './polled-descriptor.ts';
import { AF_INET, AF_INET6, loopback4, loopback6 } from './socket-address.ts';

const SOL_SOCKET = 1;
const SO_ERROR = 4;
const connectCall = bindRaw('connect', 'int', ['int', 'pointer', 'uint']);
const getsockopt = bind('getsockopt', ['int', 'int', 'int', 'pointer', 'pointer']);

const CANDIDATES = [
  { family: AF_INET, name: '127.0.0.1', address: loopback4 },
  { family: AF_INET6, name: '[::1]', address: loopback6 },
] as const;

/**
 * `namespacePath` undefined: our own namespace. The first of 127.0.0.1 and ::1 that answers; FailedPrecondition with what
 * each of them said when none does. Half-open is allowed: end your side yourself.
 */
export async function connectInNamespace(
  namespacePath: string | undefined,
  port: number,
  signal?: AbortSignal,
): Promise<Socket> {
  const failures: string[] = [];
  for (const { family, name, address } of CANDIDATES) {
    throwIfAborted(signal, 'linux.connect');
    let code: string;
    try {
      const fd = await socketInNamespace(namespacePath, family);
      using descriptor = new PolledDescriptor(fd);
      code = await connect(descriptor, address(port), signal);
      // A duplicate: this wrapper's descriptor goes with its poll handle.
      if (code === 'OK') return new Socket({ fd: duplicate(descriptor.fd), allowHalfOpen: true });
    } catch (error) {
      // A kernel without IPv6.
      if (errnoOf(error) !== 'EAFNOSUPPORT') throw error;
      code = 'EAFNOSUPPORT';
    }
    failures.push(`${name}:${port}: ${code}`);
  }
  const message = `nothing answers on port ${port}: ${failures.join(', ')}`;
  throw new CairnError('FailedPrecondition', message, { step: 'linux.connect' });
}

/** `OK`, or the errno's name. */
async function connect(descriptor: PolledDescriptor, address: Buffer, signal?: AbortSignal): Promise<string> {
  if (connectCall(descriptor.fd, address, address.length) === 0) return 'OK';
  const code = errnoName(lastErrno());
  if (code !== 'EINPROGRESS') return code;
  using _aborting = onAbort(signal, () => descriptor[Symbol.dispose]());
  await descriptor.writable();
  if (signal?.aborted) throw abortError(signal, 'linux.connect');
  const result = room(4);
  const length = room(4);
  length.writeInt32LE(4);
  getsockopt(undefined, descriptor.fd, SOL_SOCKET, SO_ERROR, result, length);
  const errno = result.readInt32LE(0);
  return errno === 0 ? 'OK' : errnoName(errno);
}

function onAbort(signal: AbortSignal | undefined, act: () => void): Disposable {
  signal?.addEventListener('abort', act, { once: true });
  return { [Symbol.dispose]: () => signal?.removeEventListener('abort', act) };
}
