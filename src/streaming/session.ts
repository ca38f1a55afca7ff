/** What all protocols know of one client: when it has gone, and how long nothing has moved. */
import type { Socket } from 'node:net';
import { CairnError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { watchHangup } from '../linux/index.ts';

const KEEP_ALIVE_MS = 30_000;
/**
 * The end of a client that dies while its input is not read stands in line behind that input, at its own side. But its
 * kernel answers anything that we send to it then with a reset, which we hear of at once: so a stalled client gets pings.
 */
export const STALL_PROBE_MS = 1_000;

export interface SessionOptions {
  readonly idleTimeoutMs: number;
  readonly log: Logger;
}

export class Session implements Disposable {
  readonly log: Logger;
  readonly #gone = new AbortController();
  readonly #socket: Socket;
  readonly #idleTimer: NodeJS.Timeout;
  readonly #watch: Disposable | undefined;

  constructor(socket: Socket, options: SessionOptions) {
    this.log = options.log;
    this.#socket = socket;
    // A client's machine that vanished without a word.
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    socket.setNoDelay(true);
    socket.on('close', () => this.end('the client has gone'));
    const fd = descriptorOf(socket);
    this.#watch = fd === undefined ? undefined : watchHangup(fd, () => this.end('the client has gone'));
    const idleSeconds = options.idleTimeoutMs / 1000;
    this.#idleTimer = setTimeout(() => this.#idle(idleSeconds), options.idleTimeoutMs);
  }

  /** Fires when the client has gone, was idle for too long or the daemon stops. */
  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  /** Something moved, in either direction. */
  readonly active = (): void => {
    this.#idleTimer.refresh();
  };

  end(reason: string): void {
    this.#gone.abort(new CairnError('Cancelled', reason, { step: 'streaming.session' }));
  }

  /** As `end`, and closes the connection. */
  cut(reason: string): void {
    this.end(reason);
    this.#socket.destroy();
  }

  #idle(seconds: number): void {
    const reason = `the connection was idle for ${seconds} s`;
    this.log.info(`${reason} and is closed`);
    this.cut(reason);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#idleTimer);
    this.#watch?.[Symbol.dispose]();
  }
}

/** Node shows the number only on the handle; a TLS socket's is that of its TCP socket. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } | null };
  const fd = handle?.fd;
  return typeof fd === 'number' && fd >= 0 ? fd : undefined;
}
