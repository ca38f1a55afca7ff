/** One forwarded connection: bytes between a client's stream and a port of the pod, until both sides have ended. */
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { messageOf } from '../base/errors.ts';
import type { StreamingServerOptions } from './index.ts';

export interface ForwardOptions {
  readonly pods: StreamingServerOptions['pods'];
  readonly podId: string;
  readonly port: number;
  /** From the client, and to it; one Duplex may be both. */
  readonly input: Readable;
  readonly output: Writable;
  /** The client can end its direction alone. If not, the pod's end is the end of both. */
  readonly halfClose: boolean;
  readonly signal: AbortSignal;
}

/** Resolves with what went wrong, in words for the client, or undefined. */
export async function forwardPort(options: ForwardOptions): Promise<string | undefined> {
  const { pods, podId, port, input, output, halfClose, signal } = options;
  let socket: Socket;
  try {
    socket = await pods.connect(podId, port, signal);
  } catch (error) {
    return `error forwarding port ${port} to pod ${podId}: ${messageOf(error)}`;
  }
  const { promise: ended, resolve } = Promise.withResolvers<string | undefined>();
  socket.on('error', (error) => resolve(`error forwarding port ${port} to pod ${podId}: ${error.message}`));
  socket.on('close', () => resolve(undefined));
  const giveUp = () => socket.destroy();
  // A stream that closes after both of its ends is fine: what was written has been handed on.
  input.on('close', () => {
    if (!input.readableEnded) giveUp();
  });
  output.on('close', () => {
    if (!output.writableFinished) giveUp();
  });
  signal.addEventListener('abort', giveUp, { once: true });
  if (signal.aborted || input.destroyed || output.destroyed) giveUp();
  if (!halfClose) socket.on('end', () => socket.end());
  input.pipe(socket);
  socket.pipe(output);
  try {
    const failure = await ended;
    if (failure === undefined) await finished(output);
    return failure;
  } finally {
    signal.removeEventListener('abort', giveUp);
    socket.destroy();
  }
}

/** What the pod has sent last may still be on its way to the client. */
async function finished(output: Writable): Promise<void> {
  if (!output.writableEnded || output.writableFinished || output.destroyed) return;
  await new Promise<void>((resolve) => {
    output.on('finish', resolve);
    output.on('close', resolve);
  });
}
