/**
 * Hearing that the other end of a TCP connection has gone, also while nobody reads: Node stops looking at a socket that
 * is paused, so a client that dies with data in flight would go unnoticed.
 */
import koffi from 'koffi';
import { closeDescriptor } from './libc.ts';
import { duplicate } from './pipe.ts';

/** Calls `onHangup` once, when the peer has closed its side (even with unread data before that) or reset it. */
export function watchHangup(fd: number, onHangup: () => void): Disposable {
  // One poll handle a descriptor, and Node has its own on the original.
  const own = duplicate(fd);
  let open = true;
  const dispose = () => {
    if (!open) return;
    open = false;
    handle.close();
    closeDescriptor(own);
  };
  const handle = koffi.node.poll(own, { disconnect: true }, () => {
    if (!open) return;
    dispose();
    setImmediate(onHangup);
  });
  handle.unref();
  return { [Symbol.dispose]: dispose };
}
