/** The daemon's own directories: made when missing, and locked against a second daemon. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config/index.ts';
import { lockFile } from '../linux/index.ts';

/** They hold other people's data; containers reach what is theirs through mounts, not through these. */
const DIRECTORY_MODE = 0o711;

/** FailedPrecondition when another daemon holds one of them. */
export async function lockDirectories({ root, state }: Config): Promise<Disposable> {
  using stack = new DisposableStack();
  for (const directory of [root, state]) {
    await mkdir(directory, { recursive: true, mode: DIRECTORY_MODE });
    stack.use(lockFile(join(directory, 'lock')));
  }
  return stack.move();
}
