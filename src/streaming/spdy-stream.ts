/** One stream of a SPDY connection, as a Node stream: ending it sends FIN, destroying it before its end sends RST_STREAM. */
import { Duplex } from 'node:stream';
import type { SpdyHeaders } from './spdy-headers.ts';

/** What may wait for the reader before the whole connection is held up (SPDY's own windows are used by nobody). */
const BUFFER_BYTES_MAX = 128 * 1024;

/** The connection's side of a stream. */
export interface StreamOwner {
  /** Resolves when there is room for more, or the connection is gone. */
  send(streamId: number, data: Buffer | undefined, fin: boolean): Promise<void>;
  forget(stream: SpdyStream, cancelled: boolean): void;
}

export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: SpdyHeaders;
  readonly #owner: StreamOwner;
  #wanted: PromiseWithResolvers<void> | undefined;
  #remoteEnded = false;
  #localEnded = false;

  constructor(id: number, headers: SpdyHeaders, owner: StreamOwner) {
    super({ readableHighWaterMark: BUFFER_BYTES_MAX, allowHalfOpen: true });
    this.id = id;
    this.headers = headers;
    this.#owner = owner;
    // A reset concerns who uses the stream; who does not care is not harmed.
    this.on('error', () => {});
  }

  /** Takes a piece; a promise when the reader must catch up first. */
  deliver(data: Buffer, fin: boolean): Promise<void> | undefined {
    if (this.destroyed || this.#remoteEnded) return undefined;
    const wantsMore = data.length === 0 || this.push(data);
    if (fin) {
      this.#remoteEnded = true;
      this.push(null);
      return undefined;
    }
    if (wantsMore) return undefined;
    this.#wanted = Promise.withResolvers<void>();
    return this.#wanted.promise;
  }

  /** The client wants no more of it. */
  reset(reason: Error): void {
    this.#localEnded = true;
    this.#remoteEnded = true;
    this.destroy(reason);
  }

  override _read(): void {
    this.#wanted?.resolve();
    this.#wanted = undefined;
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#owner.send(this.id, chunk, false).then(() => done(), done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#localEnded = true;
    this.#owner.send(this.id, undefined, true).then(() => done(), done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this._read();
    this.#owner.forget(this, !(this.#localEnded && this.#remoteEnded));
    done(error);
  }
}
