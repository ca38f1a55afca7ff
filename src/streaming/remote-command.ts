/**
 * A command or an attachment between a client's streams and a container's, whatever protocol carries them.
 *
 * The container's side is always disposed at the end: a client that dies takes its command with it.
 */
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isCairnError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { OpenStreams } from '../task/index.ts';
import { ResizeReader } from './resize.ts';
import type { CommandStatus } from './status.ts';

/** The client's side. */
export interface CommandClient {
  readonly stdin: Readable | undefined;
  readonly stdout: Writable | undefined;
  readonly stderr: Writable | undefined;
  readonly resize: Readable | undefined;
  /** Says how it ended (after the last output) and closes the connection. */
  finish(status: CommandStatus): Promise<void>;
}

/** The container's side, and how it ends. */
export interface CommandTarget extends OpenStreams {
  readonly status: Promise<CommandStatus>;
}

export interface CommandRun {
  /** What is done, for messages: `executing a command in container ID`. */
  readonly what: string;
  readonly client: CommandClient;
  /** Fires when the client has gone, was idle for too long, or the daemon stops. */
  readonly signal: AbortSignal;
  readonly open: (signal: AbortSignal) => Promise<CommandTarget>;
  readonly log: Logger;
}

export async function runCommand({ what, client, signal, open, log }: CommandRun): Promise<void> {
  let status: CommandStatus;
  try {
    await using target = await open(signal);
    const stop = () => void target[Symbol.asyncDispose]();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      feed(client.stdin, target.stdin);
      followSize(client.resize, target, log);
      const outputs = [carry(target.stdout, client.stdout), carry(target.stderr, client.stderr)];
      // An output that fails ends the command: nobody would read it.
      await Promise.all(outputs);
      status = await target.status;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  } catch (error) {
    if (signal.aborted) {
      log.debug({ reason: messageOf(signal.reason) }, `${what} was broken off`);
      return;
    }
    if (!isCairnError(error)) log.error({ err: error }, `${what} failed`);
    else log.info({ err: error }, `${what} failed: ${error.message}`);
    status = { kind: 'failure', message: `error ${what}: ${messageOf(error)}` };
  }
  if (!signal.aborted) await client.finish(status);
}

/** Hands input on until either end has enough; what nobody wants any more is read and dropped. */
function feed(source: Readable | undefined, target: Writable | undefined): void {
  if (source === undefined) return;
  source.on('error', () => {});
  if (target === undefined || target.destroyed) {
    source.resume();
    return;
  }
  target.on('close', () => source.resume());
  target.on('error', () => source.resume());
  source.pipe(target);
}

async function carry(source: AsyncIterable<Buffer> | undefined, target: Writable | undefined): Promise<void> {
  if (source === undefined) {
    target?.end();
    return;
  }
  if (target === undefined) {
    for await (const _chunk of source) {
      // Not asked for.
    }
    return;
  }
  await pipeline(source, target, { end: true });
}

function followSize(source: Readable | undefined, target: OpenStreams, log: Logger): void {
  if (source === undefined) return;
  const reader = new ResizeReader();
  source.on('error', () => {});
  source.on('data', (chunk: Buffer) => {
    const size = reader.read(chunk);
    if (size) target.resize(size).catch((error: unknown) => log.warn({ err: error }, 'the terminal keeps its size'));
  });
}
