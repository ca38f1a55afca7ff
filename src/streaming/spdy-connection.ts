/**
 * The server's side of a SPDY/3.1 connection over any byte stream (a TCP or TLS socket, a WebSocket tunnel).
 *
 * No windows: the Go peers neither keep nor open them. Backpressure is that of the byte stream: what a stream's reader has
 * not taken stops the reading of the connection, what the client has not taken stops the writers.
 */
import type { Duplex } from 'node:stream';
import { CairnError } from '../base/errors.ts';
import { STALL_PROBE_MS } from './session.ts';
import {
  DATA_BYTES_MAX,
  dataHeader,
  goAwayFrame,
  pingFrame,
  RESET_CANCEL,
  RESET_REFUSED,
  replyFrame,
  resetFrame,
  SpdyDecoder,
  type SpdyFrame,
} from './spdy-frames.ts';
import { emptyHeaderBlock, HeaderReader } from './spdy-headers.ts';
import { SpdyStream, type StreamOwner } from './spdy-stream.ts';

export interface SpdyConnectionOptions {
  /** The connection is the stream's owner; the handler may keep, use or destroy it. */
  readonly onStream: (stream: SpdyStream) => void;
  /** Data came or went. */
  readonly onActivity: () => void;
}

/** Port-forward takes two for each connection that is open at a time. */
const STREAMS_MAX = 512;
/** A client that asks without reading the answers. */
const UNSENT_BYTES_MAX = 4 * 1024 * 1024;
/** How long a client may take to close after the end. */
const LINGER_MS = 5_000;

export class SpdyConnection {
  /** Resolves when the client has closed or broken the connection; never rejects. */
  readonly ended: Promise<void>;
  readonly #transport: Duplex;
  readonly #options: SpdyConnectionOptions;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #owner: StreamOwner;
  #hasReplied = false;
  #closing = false;
  #lastStreamId = 0;
  #drained: PromiseWithResolvers<void> | undefined;

  constructor(transport: Duplex, options: SpdyConnectionOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#owner = {
      send: (streamId, data, fin) => this.#send(streamId, data, fin),
      forget: (stream, cancelled) => this.#forget(stream, cancelled),
    };
    const onRoom = () => {
      this.#drained?.resolve();
      this.#drained = undefined;
    };
    transport.on('drain', onRoom);
    transport.on('close', onRoom);
    // The reading loop hears of it as well.
    transport.on('error', () => {});
    this.ended = this.#run();
  }

  /** Sends what the streams have finished, says goodbye and waits a while for the client to close. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    for (const stream of [...this.#streams.values()]) stream.destroy();
    this.#transport.write(goAwayFrame(this.#lastStreamId));
    // Reading goes on: closing with unread data would reset the connection and could take the last output with it.
    this.#transport.end();
    const timer = setTimeout(() => this.destroy(), LINGER_MS);
    await this.ended;
    clearTimeout(timer);
  }

  destroy(): void {
    this.#transport.destroy();
  }

  async #run(): Promise<void> {
    const decoder = new SpdyDecoder();
    using headers = new HeaderReader();
    try {
      for await (const chunk of this.#transport) {
        for (const frame of decoder.decode(chunk as Buffer)) await this.#take(frame, headers);
      }
    } catch {
      // Broken off or not SPDY: either way this is the end of it, and its streams tell their users.
    } finally {
      this.#closing = true;
      this.#transport.destroy();
      const gone = new CairnError('Cancelled', 'the client has gone', { step: 'streaming.spdy' });
      for (const stream of [...this.#streams.values()]) stream.destroy(gone);
    }
  }

  async #take(frame: SpdyFrame, headers: HeaderReader): Promise<void> {
    switch (frame.type) {
      case 'data': {
        this.#options.onActivity();
        const full = this.#streams.get(frame.streamId)?.deliver(frame.data, frame.fin);
        if (full) await this.#stalled(full);
        return;
      }
      case 'synStream':
        this.#open(frame, await headers.read(frame.block));
        return;
      case 'headers':
        await headers.read(frame.block);
        if (frame.fin) this.#streams.get(frame.streamId)?.deliver(Buffer.alloc(0), true);
        return;
      case 'reset':
        this.#streams.get(frame.streamId)?.reset(new CairnError('Cancelled', 'the client has reset the stream'));
        return;
      case 'ping':
        this.#reply(pingFrame(frame.id));
        return;
      case 'goAway':
        return;
    }
  }

  /** The reading waits: meanwhile the client is probed, see `STALL_PROBE_MS`. */
  async #stalled(full: Promise<void>): Promise<void> {
    const timer = setInterval(() => {
      // Even numbers are the server's.
      if (this.#transport.writable && !this.#transport.writableNeedDrain) this.#transport.write(pingFrame(2));
    }, STALL_PROBE_MS);
    await full;
    clearInterval(timer);
  }

  #open(frame: SpdyFrame & { type: 'synStream' }, headers: SpdyStream['headers']): void {
    const { streamId, fin } = frame;
    if (this.#closing || this.#streams.size >= STREAMS_MAX) {
      this.#reply(resetFrame(streamId, RESET_REFUSED));
      return;
    }
    // Clients number with odd numbers, upwards.
    if (streamId % 2 === 0 || streamId <= this.#lastStreamId) {
      throw new CairnError('InvalidArgument', `SPDY: stream ${streamId} out of turn`, { step: 'streaming.spdy' });
    }
    this.#lastStreamId = streamId;
    const stream = new SpdyStream(streamId, headers, this.#owner);
    this.#streams.set(streamId, stream);
    this.#reply(replyFrame(streamId, emptyHeaderBlock(!this.#hasReplied)));
    this.#hasReplied = true;
    if (fin) void stream.deliver(Buffer.alloc(0), true);
    this.#options.onStream(stream);
  }

  #reply(frame: Buffer): void {
    if (this.#transport.writableLength > UNSENT_BYTES_MAX) {
      throw new CairnError('ResourceExhausted', 'the client does not read', { step: 'streaming.spdy' });
    }
    if (this.#transport.writable) this.#transport.write(frame);
  }

  async #send(streamId: number, data: Buffer | undefined, fin: boolean): Promise<void> {
    const transport = this.#transport;
    const bytes = data ?? Buffer.alloc(0);
    for (let at = 0; at === 0 || at < bytes.length; at += DATA_BYTES_MAX) {
      if (!transport.writable) throw new CairnError('Cancelled', 'the client has gone', { step: 'streaming.spdy' });
      const piece = bytes.subarray(at, at + DATA_BYTES_MAX);
      const last = at + DATA_BYTES_MAX >= bytes.length;
      transport.cork();
      transport.write(dataHeader(streamId, piece.length, fin && last));
      if (piece.length > 0) transport.write(piece);
      transport.uncork();
      this.#options.onActivity();
      if (transport.writableNeedDrain) {
        this.#drained ??= Promise.withResolvers<void>();
        await this.#drained.promise;
      }
    }
  }

  #forget(stream: SpdyStream, cancelled: boolean): void {
    if (!this.#streams.delete(stream.id) || !cancelled || this.#closing) return;
    if (this.#transport.writable) this.#transport.write(resetFrame(stream.id, RESET_CANCEL));
  }
}
