/**
 * Receiving one descriptor over a unix socket (SCM_RIGHTS), as OCI runtimes hand over the master of a terminal
 * (`--console-socket`).
 *
 * Who sends ends before we look: connection and message wait in the kernel's queues, so nothing here ever blocks.
 */
import { CairnError, errnoOf } from '../base/errors.ts';
import { openat, unlinkat } from './at.ts';
import { AT_FDCWD, addressOf, bind, closeDescriptor, O_CLOEXEC, O_DIRECTORY, O_PATH, room } from './libc.ts';
import { AF_UNIX, unixAddress } from './socket-address.ts';

const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
const MSG_CMSG_CLOEXEC = 0x40000000;
/** Room for a few: what was not asked for must be seen to be closed. */
const DESCRIPTORS_MAX = 8;
const CONTROL_HEADER_BYTES = 16;

const socket = bind('socket', ['int', 'int', 'int']);
const bindTo = bind('bind', ['int', 'pointer', 'uint']);
const listen = bind('listen', ['int', 'int']);
const accept4 = bind('accept4', ['int', 'pointer', 'pointer', 'int']);
const recvmsg = bind('recvmsg', ['int', 'pointer', 'int'], 'long');

export interface DescriptorReceiver extends Disposable {
  /** For the sender; short, whatever the directory's path. It works from processes of our mount and PID namespace. */
  readonly path: string;
  /** What was sent by now; FailedPrecondition when nothing was. Whoever takes it closes it. */
  take(): number;
}

/** Listens at `name` in `directory`; disposing removes the socket. */
export function receiveDescriptor(directory: string, name: string): DescriptorReceiver {
  using stack = new DisposableStack();
  const at = openat(AT_FDCWD, directory, O_PATH | O_DIRECTORY);
  stack.defer(() => closeDescriptor(at));
  const listener = socket(undefined, AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | O_CLOEXEC, 0);
  stack.defer(() => closeDescriptor(listener));
  // A socket's path has 107 bytes, ours may have more.
  const address = unixAddress(`/proc/self/fd/${at}/${name}`);
  bindTo(`${directory}/${name}`, listener, address, address.length);
  stack.defer(() => unlinkat(at, name));
  listen(`${directory}/${name}`, listener, 1);
  const owned = stack.move();
  return {
    path: `/proc/${process.pid}/fd/${at}/${name}`,
    take: () => takeFrom(listener),
    [Symbol.dispose]: () => owned.dispose(),
  };
}

function takeFrom(listener: number): number {
  let connection: number;
  try {
    connection = accept4('socket', listener, null, null, SOCK_NONBLOCK | O_CLOEXEC);
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') throw nothingSent();
    throw error;
  }
  try {
    const [first, ...others] = receiveAll(connection);
    for (const fd of others) closeDescriptor(fd);
    if (first === undefined) throw nothingSent();
    return first;
  } finally {
    closeDescriptor(connection);
  }
}

function nothingSent(): CairnError {
  return new CairnError('FailedPrecondition', 'no descriptor was sent', { step: 'linux.receiveDescriptor' });
}

/** The descriptors of the first message. */
function receiveAll(connection: number): number[] {
  const data = room(4096);
  // struct iovec: void *base, size_t length.
  const vector = room(16);
  vector.writeBigUInt64LE(addressOf(data), 0);
  vector.writeBigUInt64LE(BigInt(data.length), 8);
  // struct cmsghdr: size_t length, int level, int type; then the data, ints here.
  const control = room(CONTROL_HEADER_BYTES + 4 * DESCRIPTORS_MAX);
  // struct msghdr: void *name, u32 length, padding, iovec *, size_t, void *control, size_t, int flags, padding.
  const message = room(56);
  message.writeBigUInt64LE(addressOf(vector), 16);
  message.writeBigUInt64LE(1n, 24);
  message.writeBigUInt64LE(addressOf(control), 32);
  message.writeBigUInt64LE(BigInt(control.length), 40);
  try {
    recvmsg('socket', connection, message, MSG_CMSG_CLOEXEC);
  } catch (error) {
    if (errnoOf(error) === 'EAGAIN') return [];
    throw error;
  }
  if (message.readBigUInt64LE(40) < CONTROL_HEADER_BYTES) return [];
  if (control.readInt32LE(8) !== SOL_SOCKET || control.readInt32LE(12) !== SCM_RIGHTS) return [];
  const count = (Number(control.readBigUInt64LE(0)) - CONTROL_HEADER_BYTES) / 4;
  return Array.from({ length: count }, (_, index) => control.readInt32LE(CONTROL_HEADER_BYTES + 4 * index));
}
