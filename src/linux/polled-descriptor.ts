/**
 * Waiting in both directions on a descriptor that Node has no stream for: a pseudo-terminal's master, a SEQPACKET socket.
 *
 * It owns the descriptor and the one poll handle that libuv allows for it (see poll.ts for the handle's sharp edges).
 * The waits are hints: try the call, and wait again after EAGAIN. Main thread only.
 */
import koffi from 'koffi';
import { bind, closeDescriptor } from './libc.ts';

const F_GETFL = 3;
const F_SETFL = 4;
// The same on x64 and arm64.
const O_NONBLOCK = 0o4000;
const fcntl = bind('fcntl', ['int', 'int', 'long']);

export class PolledDescriptor implements Disposable {
  readonly fd: number;
  #handle: ReturnType<typeof koffi.node.poll> | undefined;
  #closed = false;
  #readable: PromiseWithResolvers<void> | undefined;
  #writable: PromiseWithResolvers<void> | undefined;

  /** Takes the descriptor over and makes it non-blocking. */
  constructor(fd: number) {
    this.fd = fd;
    fcntl(String(fd), fd, F_SETFL, fcntl(String(fd), fd, F_GETFL, 0) | O_NONBLOCK);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Resolves when a read may succeed or fail, and when this is closed. */
  readable(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#readable ??= Promise.withResolvers<void>();
    this.#poll();
    return this.#readable.promise;
  }

  writable(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#writable ??= Promise.withResolvers<void>();
    this.#poll();
    return this.#writable.promise;
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handle?.close();
    closeDescriptor(this.fd);
    this.#wake(true, true);
  }

  #poll(): void {
    const interest = { readable: this.#readable !== undefined, writable: this.#writable !== undefined };
    const onReady = (events: { readable: boolean; writable: boolean }) => {
      this.#handle?.stop();
      // An error on the descriptor comes without a flag: both sides will hear of it from their calls.
      const none = !events.readable && !events.writable;
      setImmediate(() => this.#wake(events.readable || none, events.writable || none));
    };
    if (this.#handle === undefined) this.#handle = koffi.node.poll(this.fd, interest, onReady);
    else this.#handle.start(interest, onReady);
  }

  #wake(readable: boolean, writable: boolean): void {
    const [reader, writer] = [this.#readable, this.#writable];
    if (readable) this.#readable = undefined;
    if (writable) this.#writable = undefined;
    if (!this.#closed && (this.#readable || this.#writable)) this.#poll();
    if (readable) reader?.resolve();
    if (writable) writer?.resolve();
  }
}
