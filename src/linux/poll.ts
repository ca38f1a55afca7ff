/**
 * Waiting for a descriptor on the main loop, through koffi's libuv binding.
 *
 * Its sharp edges, dulled here: the callback runs outside of Node's own scope (no microtasks, errors vanish), so the work
 * moves to `setImmediate`; a second handle on one descriptor aborts the process, so a descriptor is waited for by one.
 */
import koffi from 'koffi';

export interface Waiting extends Disposable {
  /** Resolves at the first time the descriptor is readable; never after it was disposed. */
  readonly readable: Promise<void>;
  /** Lets the process end while this waits. */
  unref(): void;
}

/** Dispose it before the descriptor is closed. */
export function waitReadable(fd: number): Waiting {
  const { promise, resolve } = Promise.withResolvers<void>();
  let open = true;
  const stop = () => {
    if (!open) return;
    open = false;
    handle.close();
  };
  const handle = koffi.node.poll(fd, { readable: true }, () => {
    stop();
    setImmediate(resolve);
  });
  return { readable: promise, unref: () => handle.unref(), [Symbol.dispose]: stop };
}
