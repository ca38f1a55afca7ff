/** The channels of one WebSocket as Node streams, with backpressure both ways. */
import { Readable, Writable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { CairnError } from '../base/errors.ts';
import { STALL_PROBE_MS } from './session.ts';
import { type ChannelCodec, decodeMessage, encodeMessage } from './websocket-codec.ts';

/** What may wait for a channel's reader before the whole connection is held up. */
const BUFFER_BYTES_MAX = 128 * 1024;
/** How long a client may take to close after the end. */
const LINGER_MS = 5_000;
const NORMAL_CLOSURE = 1000;
const PROTOCOL_ERROR = 1002;

export class WebSocketChannels {
  /** Resolves when the connection is closed; never rejects. */
  readonly ended: Promise<void>;
  readonly #socket: WebSocket;
  readonly #codec: ChannelCodec;
  readonly #onActivity: () => void;
  readonly #readers = new Map<number, Readable>();
  readonly #writers = new Set<Writable>();
  /** Channels whose reader must catch up. */
  readonly #full = new Set<number>();
  #closing = false;
  /** Runs while reading is paused. */
  #probe: NodeJS.Timeout | undefined;

  constructor(socket: WebSocket, codec: ChannelCodec, onActivity: () => void) {
    this.#socket = socket;
    this.#codec = codec;
    this.#onActivity = onActivity;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    socket.on('message', (message: RawData) => this.#take(message));
    socket.on('error', () => socket.terminate());
    socket.on('close', () => {
      const gone = new CairnError('Cancelled', 'the client has gone', { step: 'streaming.websocket' });
      this.#stopProbe();
      for (const stream of [...this.#readers.values(), ...this.#writers]) stream.destroy(gone);
      resolve();
    });
  }

  /** What the client sends on a channel. What comes on channels without a reader is dropped. */
  reader(channel: number): Readable {
    const reader = new Readable({
      highWaterMark: BUFFER_BYTES_MAX,
      read: () => this.#resume(channel),
      destroy: (error, done) => {
        this.#readers.delete(channel);
        this.#resume(channel);
        done(error);
      },
    });
    reader.on('error', () => {});
    this.#readers.set(channel, reader);
    return reader;
  }

  /** The protocol has no end of a channel for the server to send. */
  writer(channel: number): Writable {
    const writer = new Writable({ write: (chunk: Buffer, _encoding, done) => this.send(channel, chunk, done) });
    writer.on('error', () => {});
    this.#writers.add(writer);
    return writer;
  }

  send(channel: number, data: Buffer, done: (error?: Error | null) => void = () => {}): void {
    this.#onActivity();
    this.#socket.send(encodeMessage(this.#codec, channel, data), { binary: !this.#codec.base64 }, done);
  }

  /** After the last message; waits a while for the client to close. */
  async close(): Promise<void> {
    this.#closing = true;
    this.#stopProbe();
    this.#socket.resume();
    this.#socket.close(NORMAL_CLOSURE);
    const timer = setTimeout(() => this.#socket.terminate(), LINGER_MS);
    await this.ended;
    clearTimeout(timer);
  }

  #take(message: RawData): void {
    if (this.#closing) return;
    this.#onActivity();
    let decoded: ReturnType<typeof decodeMessage>;
    try {
      decoded = decodeMessage(this.#codec, message as Buffer);
    } catch {
      this.#socket.close(PROTOCOL_ERROR, 'not base64');
      return;
    }
    if (decoded === undefined) return;
    const reader = this.#readers.get(decoded.channel);
    if (reader === undefined || reader.readableEnded) return;
    if (decoded.close) {
      reader.push(null);
      this.#readers.delete(decoded.channel);
      return;
    }
    if (decoded.data.length === 0 || reader.push(decoded.data)) return;
    this.#full.add(decoded.channel);
    this.#socket.pause();
    this.#probe ??= setInterval(() => {
      if (this.#socket.readyState === this.#socket.OPEN && this.#socket.bufferedAmount === 0) this.#socket.ping();
    }, STALL_PROBE_MS);
  }

  #resume(channel: number): void {
    if (!this.#full.delete(channel) || this.#full.size > 0) return;
    this.#stopProbe();
    this.#socket.resume();
  }

  #stopProbe(): void {
    clearInterval(this.#probe);
    this.#probe = undefined;
  }
}
