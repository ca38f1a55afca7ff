/**
 * A client of a SOCK_SEQPACKET unix socket (conmon's attach socket), which Node has no name for.
 *
 * Packets keep their borders. Sends wait when the peer's queue is full, and only then.
 */
import { basename, dirname } from 'node:path';
import { openat } from './at.ts';
import { errnoName, SystemError } from './errno.ts';
import { AT_FDCWD, bind, bindRaw, closeDescriptor, lastErrno, O_CLOEXEC, O_DIRECTORY, O_PATH, room } from './libc.ts';
import { PolledDescriptor } from './polled-descriptor.ts';
import { AF_UNIX, unixAddress } from './socket-address.ts';

const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SHUT_WR = 1;
const MSG_NOSIGNAL = 0x4000;

const socket = bind('socket', ['int', 'int', 'int']);
const connectTo = bind('connect', ['int', 'pointer', 'uint']);
const shutdown = bind('shutdown', ['int', 'int']);
const sendCall = bindRaw('send', 'long', ['int', 'pointer', 'long', 'int']);
const recvCall = bindRaw('recv', 'long', ['int', 'pointer', 'long', 'int']);

export interface SeqpacketOptions {
  /** Longer packets are cut off by the kernel. */
  readonly packetBytesMax: number;
}

export class SeqpacketSocket implements Disposable {
  readonly #descriptor: PolledDescriptor;
  readonly #buffer: Buffer;

  private constructor(fd: number, packetBytesMax: number) {
    this.#descriptor = new PolledDescriptor(fd);
    this.#buffer = room(packetBytesMax);
  }

  /** ENOENT or ECONNREFUSED when nobody listens, EAGAIN when the listener's queue is full. A path of any length. */
  static connect(path: string, options: SeqpacketOptions): SeqpacketSocket {
    const directory = openat(AT_FDCWD, dirname(path), O_PATH | O_DIRECTORY);
    try {
      const fd = socket(undefined, AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | O_CLOEXEC, 0);
      try {
        const address = unixAddress(`/proc/self/fd/${directory}/${basename(path)}`);
        connectTo(path, fd, address, address.length);
        return new SeqpacketSocket(fd, options.packetBytesMax);
      } catch (error) {
        closeDescriptor(fd);
        throw error;
      }
    } finally {
      closeDescriptor(directory);
    }
  }

  /** Resolves when `receive` may have something to tell. */
  readable(): Promise<void> {
    return this.#descriptor.readable();
  }

  /** A packet (valid until the next call), `end`, or `nothing` for now. */
  receive(): Buffer | 'end' | 'nothing' {
    if (this.#descriptor.closed) return 'end';
    for (;;) {
      const count = recvCall(this.#descriptor.fd, this.#buffer, this.#buffer.length, 0);
      if (count > 0) return this.#buffer.subarray(0, count);
      if (count === 0) return 'end';
      const errno = lastErrno();
      const code = errnoName(errno);
      if (code === 'EAGAIN') return 'nothing';
      if (code === 'ECONNRESET') return 'end';
      if (code !== 'EINTR') throw new SystemError(errno, 'recv');
    }
  }

  /** Sends one packet; waits while there is no room. False when the peer has gone or this was disposed. */
  async send(packet: Buffer): Promise<boolean> {
    for (;;) {
      if (this.#descriptor.closed) return false;
      if (sendCall(this.#descriptor.fd, packet, packet.length, MSG_NOSIGNAL) >= 0) return true;
      const errno = lastErrno();
      const code = errnoName(errno);
      if (code === 'EPIPE' || code === 'ECONNRESET') return false;
      if (code === 'EAGAIN') await this.#descriptor.writable();
      else if (code !== 'EINTR') throw new SystemError(errno, 'send');
    }
  }

  /** Tells the peer that nothing more will be sent. */
  endSending(): void {
    if (!this.#descriptor.closed) shutdown(undefined, this.#descriptor.fd, SHUT_WR);
  }

  [Symbol.dispose](): void {
    this.#descriptor[Symbol.dispose]();
  }
}
