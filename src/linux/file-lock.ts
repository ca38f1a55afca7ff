/** A lock that one process holds for its life: flock(2) ends with the open file, so also when the process is killed. */
import { closeSync, constants, openSync } from 'node:fs';
import { CairnError } from '../base/errors.ts';
import { SystemError } from './errno.ts';
import { bind } from './libc.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;
const flock = bind('flock', ['int', 'int']);

/** FailedPrecondition when another process (or this one) holds it. The file is made when it is missing, and stays. */
export function lockFile(path: string): Disposable {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  try {
    flock(path, fd, LOCK_EX | LOCK_NB);
  } catch (error) {
    closeSync(fd);
    if (!(error instanceof SystemError) || error.code !== 'EAGAIN') throw error;
    throw new CairnError('FailedPrecondition', `${path} is locked: another cairnd uses this directory`, {
      step: 'linux.lock',
      cause: error,
    });
  }
  let held = true;
  return {
    [Symbol.dispose]: () => {
      if (held) closeSync(fd);
      held = false;
    },
  };
}
