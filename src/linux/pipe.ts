/** Pipes, and descriptors moved out of the way. */
import { bind, O_CLOEXEC, room } from './libc.ts';

const pipe2Call = bind('pipe2', ['pointer', 'int']);
const fcntlCall = bind('fcntl', ['int', 'int', 'long']);
const F_DUPFD_CLOEXEC = 1030;

export interface Pipe {
  readonly readEnd: number;
  readonly writeEnd: number;
}

/** Both ends close-on-exec; close each with `closeDescriptor` or hand it to a socket. */
export function makePipe(): Pipe {
  const ends = room(8);
  pipe2Call(undefined, ends, O_CLOEXEC);
  return { readEnd: ends.readInt32LE(0), writeEnd: ends.readInt32LE(4) };
}

/** A second, close-on-exec descriptor for the same open file, numbered `least` or higher. */
export function duplicate(fd: number, least = 3): number {
  return fcntlCall(String(fd), fd, F_DUPFD_CLOEXEC, least);
}
