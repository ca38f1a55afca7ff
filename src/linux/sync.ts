/** syncfs(2): one call for a whole file system, where a thousand fsyncs would each wait for the journal. */
import { openat } from './at.ts';
import { AT_FDCWD, bindAsync, closeDescriptor, O_DIRECTORY } from './libc.ts';

const syncfsCall = bindAsync('syncfs', ['int']);

/**
 * What was written to the file system of this directory before the call is on disk when it resolves. Since 5.8 the
 * kernel also reports here that writing failed. Runs in libuv's thread pool.
 */
export async function syncFilesystem(directory: string): Promise<void> {
  const fd = openat(AT_FDCWD, directory, O_DIRECTORY);
  try {
    await syncfsCall(directory, fd);
  } finally {
    closeDescriptor(fd);
  }
}
