/**
 * Attaching to the first process of a container through conmon's socket. Any number of clients may be attached.
 *
 * conmon serves its clients in turn and waits for each: a client that does not read would hold up the container and its
 * log. So the socket is always drained into a bounded buffer, and a client that is too far behind is cut off.
 */
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError, errnoOf, isCairnError, messageOf } from '../base/errors.ts';
import { SeqpacketSocket } from '../linux/index.ts';
import { ChunkQueue } from './chunk-queue.ts';
import { control } from './control.ts';
import type { Attachment, AttachOptions, TerminalSize } from './index.ts';

/** From conmon: one byte that names the stream, then at most 8192 of it. */
const PACKET_BYTES_MAX = 8193;
const STDERR = 3;
/** What conmon reads in one go; more would be cut off. */
const SEND_BYTES_MAX = 32 * 1024;
/** What a client may be behind. */
const BEHIND_BYTES_MAX = 8 * 1024 * 1024;
/** Packets in one turn of the event loop. */
const BURST = 64;
/** conmon applies the first of two commands twice when it reads them together. */
const RESIZE_INTERVAL_MS = 20;

export function attachTo(bundle: string, wanted: AttachOptions): Attachment {
  const socket = connect(bundle);
  const ended = Promise.withResolvers<void>();
  // Both streams count against one limit, in order to be bounded by it.
  const room = { bytes: BEHIND_BYTES_MAX };
  const [stdout, stderr] = [new ChunkQueue(room), new ChunkQueue(room)];
  if (!wanted.stdout) stdout.abandon();
  if (!wanted.stderr) stderr.abandon();
  const end = (error?: unknown) => {
    stdout.end(error);
    stderr.end(error);
    socket[Symbol.dispose]();
    ended.resolve();
  };
  drain(socket, { stdout, stderr }).then(() => end(), end);
  const resizer = new Resizer(bundle);
  return {
    stdin: wanted.stdin ? inputOf(socket) : undefined,
    stdout: wanted.stdout ? stdout : undefined,
    stderr: wanted.stderr ? stderr : undefined,
    ended: ended.promise,
    resize: (size) => resizer.resize(size),
    [Symbol.asyncDispose]: async () => end(),
  };
}

function connect(bundle: string): SeqpacketSocket {
  try {
    return SeqpacketSocket.connect(join(bundle, 'attach'), { packetBytesMax: PACKET_BYTES_MAX });
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    const message = `cannot attach: conmon does not answer at ${join(bundle, 'attach')}: ${messageOf(error)}`;
    throw new CairnError(errnoOf(error) === 'EAGAIN' ? 'Unavailable' : 'FailedPrecondition', message, {
      step: 'task.attach',
      cause: error,
    });
  }
}

async function drain(socket: SeqpacketSocket, queues: { stdout: ChunkQueue; stderr: ChunkQueue }): Promise<void> {
  for (;;) {
    for (let packets = 0; packets < BURST; packets++) {
      const packet = socket.receive();
      if (packet === 'end') return;
      if (packet === 'nothing') break;
      const queue = packet[0] === STDERR ? queues.stderr : queues.stdout;
      if (!queue.push(Buffer.from(packet.subarray(1)))) {
        const message = `the attached client was more than ${BEHIND_BYTES_MAX >> 20} MiB behind and was cut off`;
        throw new CairnError('ResourceExhausted', message, { step: 'task.attach' });
      }
    }
    await socket.readable();
  }
}

/** Ending it ends the container's stdin, unless that was created to stay open (`--leave-stdin-open`). */
function inputOf(socket: SeqpacketSocket): Writable {
  const input = new Writable({
    write: (chunk: Buffer, _encoding, done) => void sendAll(socket, chunk).then(() => done(), done),
    final: (done) => {
      socket.endSending();
      done();
    },
  });
  // A container that has ended reads no more.
  input.on('error', () => {});
  return input;
}

async function sendAll(socket: SeqpacketSocket, data: Buffer): Promise<void> {
  for (let at = 0; at < data.length; at += SEND_BYTES_MAX) {
    if (!(await socket.send(data.subarray(at, at + SEND_BYTES_MAX)))) return;
  }
}

/** The last size wins; no two commands close together. */
class Resizer {
  readonly #bundle: string;
  #next: TerminalSize | undefined;
  #running: Promise<void> | undefined;

  constructor(bundle: string) {
    this.#bundle = bundle;
  }

  resize(size: TerminalSize): Promise<void> {
    this.#next = size;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  async #run(): Promise<void> {
    while (this.#next !== undefined) {
      const { rows, columns } = this.#next;
      this.#next = undefined;
      try {
        await control(this.#bundle, `1 ${rows} ${columns}\n`, 'task.resize');
      } catch (error) {
        // It ends: no terminal, no size.
        if (!isCairnError(error, 'FailedPrecondition')) throw error;
      }
      await sleep(RESIZE_INTERVAL_MS);
    }
  }
}
