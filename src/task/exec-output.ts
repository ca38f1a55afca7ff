/**
 * What a command writes, chunk by chunk, at the reader's pace, up to the end of what the command itself wrote.
 *
 * The end is the end of the stream; but a background child may hold the stream open for ever. What a command that has
 * ended wrote is in the kernel's buffer by then: so after the end, a quiet moment while the reader waits, or more bytes
 * than any such buffer holds, is the end as well.
 */
import type { Readable } from 'node:stream';
import type { PtyMaster } from '../linux/index.ts';

/** The largest pipe that an unprivileged process can make. */
const KERNEL_BUFFER_BYTES_MAX = 1024 * 1024;
const QUIET_MS = 5;
const QUIET_TURNS = 2;

/** A source that does not wait. */
interface Source {
  /** What is there now; undefined at the end. */
  tryRead(): Buffer | undefined | 'nothing';
  /** Resolves when there may be more. */
  readable(): Promise<void>;
}

/** `ended`: the command has ended; it never rejects. */
export function pipeOutput(stream: Readable, ended: Promise<void>): AsyncGenerator<Buffer> {
  let over = false;
  let waiting = Promise.withResolvers<void>();
  const notify = () => {
    waiting.resolve();
    waiting = Promise.withResolvers<void>();
  };
  const finish = () => {
    over = true;
    notify();
  };
  stream.on('readable', notify);
  stream.on('end', finish);
  stream.on('close', finish);
  return output(
    {
      tryRead: () => {
        const chunk: Buffer | null = stream.read();
        if (chunk !== null) return chunk;
        return over || stream.destroyed ? undefined : 'nothing';
      },
      readable: () => waiting.promise,
    },
    ended,
  );
}

export function terminalOutput(terminal: PtyMaster, ended: Promise<void>): AsyncGenerator<Buffer> {
  return output(terminal, ended);
}

async function* output(source: Source, ended: Promise<void>): AsyncGenerator<Buffer> {
  let hasEnded = false;
  let wake = () => {};
  void ended.then(() => {
    hasEnded = true;
    wake();
  });
  let bytesAfterEnd = 0;
  let quietTurns = 0;
  for (;;) {
    const wasOver = hasEnded;
    const chunk = source.tryRead();
    if (chunk === undefined) return;
    if (chunk !== 'nothing') {
      yield chunk;
      quietTurns = 0;
      if (wasOver) bytesAfterEnd += chunk.length;
      if (bytesAfterEnd > KERNEL_BUFFER_BYTES_MAX) return;
      continue;
    }
    if (wasOver && ++quietTurns > QUIET_TURNS) return;
    // Not a race against `ended`: a promise that lives for hours would collect a reaction at each turn.
    const { promise, resolve } = Promise.withResolvers<void>();
    wake = resolve;
    void source.readable().then(resolve);
    const timer = wasOver ? setTimeout(resolve, QUIET_MS) : undefined;
    await promise;
    clearTimeout(timer);
  }
}
