/**
 * The master side of a pseudo-terminal whose slave is a process's terminal.
 *
 * libuv would write to a master blocking, so this does its own reads and writes. The end of output is EIO: nobody has the
 * slave open any more. A change of size reaches the foreground process group as SIGWINCH by the kernel's own hand.
 */
import { Writable } from 'node:stream';
import { errnoName, SystemError } from './errno.ts';
import { bind, bindRaw, lastErrno, room } from './libc.ts';
import { PolledDescriptor } from './polled-descriptor.ts';

const TIOCSWINSZ = 0x5414;
const READ_BYTES = 32 * 1024;
/** The character that ends the input of a program that reads lines (VEOF's default, ^D). */
const END_OF_TRANSMISSION = Buffer.from([4]);

const readCall = bindRaw('read', 'long', ['int', 'pointer', 'long']);
const writeCall = bindRaw('write', 'long', ['int', 'pointer', 'long']);
const ioctl = bind('ioctl', ['int', 'long', 'pointer']);

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

export class PtyMaster implements Disposable {
  /** What the terminal's user types. Ending it types ^D: a terminal has no half-close. */
  readonly input: Writable;
  readonly #descriptor: PolledDescriptor;
  readonly #buffer = room(READ_BYTES);

  /** Takes the descriptor over. */
  constructor(fd: number) {
    this.#descriptor = new PolledDescriptor(fd);
    this.input = new Writable({
      write: (chunk: Buffer, _encoding, done) => void this.#write(chunk).then(() => done(), done),
      final: (done) => void this.#write(END_OF_TRANSMISSION).then(() => done(), done),
    });
    // Whoever wrote after the terminal's end has lost nothing that anybody could have read.
    this.input.on('error', () => {});
  }

  /** Resolves when `tryRead` may have something to tell. */
  readable(): Promise<void> {
    return this.#descriptor.readable();
  }

  /** What was written since; undefined at the end and after the disposal. */
  tryRead(): Buffer | undefined | 'nothing' {
    let filled = 0;
    // One call returns at most a page.
    while (filled < READ_BYTES) {
      if (this.#descriptor.closed) return undefined;
      const count = readCall(this.#descriptor.fd, this.#buffer.subarray(filled), READ_BYTES - filled);
      if (count > 0) {
        filled += count;
        continue;
      }
      if (filled > 0) break;
      const code = count === 0 ? 'EIO' : errnoName(lastErrno());
      if (code === 'EIO') return undefined;
      if (code === 'EAGAIN') return 'nothing';
      if (code !== 'EINTR') throw new SystemError(lastErrno(), 'read', 'pty');
    }
    return Buffer.from(this.#buffer.subarray(0, filled));
  }

  resize({ rows, columns }: TerminalSize): void {
    if (this.#descriptor.closed) return;
    // struct winsize: u16 rows, columns, and pixels that nobody knows.
    const size = room(8);
    size.writeUInt16LE(rows, 0);
    size.writeUInt16LE(columns, 2);
    ioctl('pty', this.#descriptor.fd, TIOCSWINSZ, size);
  }

  [Symbol.dispose](): void {
    this.input.destroy();
    this.#descriptor[Symbol.dispose]();
  }

  async #write(chunk: Buffer): Promise<void> {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#descriptor.closed) return;
      const count = writeCall(this.#descriptor.fd, rest, rest.length);
      if (count >= 0) {
        rest = rest.subarray(count);
        continue;
      }
      const errno = lastErrno();
      const code = errnoName(errno);
      if (code === 'EIO') return;
      if (code === 'EAGAIN') await this.#descriptor.writable();
      else if (code !== 'EINTR') throw new SystemError(errno, 'write', 'pty');
    }
  }
}
