/** conmon's control fifo. */
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, errnoOf } from '../base/errors.ts';

/** One command per write: conmon parses only the first line of what it reads. */
export async function control(bundle: string, command: string, step: string): Promise<void> {
  let fifo: Awaited<ReturnType<typeof open>>;
  try {
    // Without a reader a blocking open would wait forever.
    fifo = await open(join(bundle, 'ctl'), constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (errnoOf(error) !== 'ENXIO' && errnoOf(error) !== 'ENOENT') throw error;
    throw new CairnError('FailedPrecondition', `conmon does not listen at ${join(bundle, 'ctl')}: the container ends`, {
      step,
      cause: error,
    });
  }
  try {
    await fifo.write(command);
  } finally {
    await fifo.close();
  }
}
