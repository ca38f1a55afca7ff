/** Mounts of layers for the time that a worker thread looks at them or lets the kernel copy up. */
import { mkdirSync, rmdirSync } from 'node:fs';
import { mountOverlaySync, unmountSync } from '../linux/index.ts';

export interface LayerView extends Disposable {
  readonly path: string;
}

/** The layers `lower` (top first, at least one) seen together, read-only. A single one is its own view. */
export function viewLayers(lower: readonly string[], target: string): LayerView {
  const [only] = lower;
  if (only !== undefined && lower.length === 1) return { path: only, [Symbol.dispose]: () => undefined };
  return mounted(target, () => mountOverlaySync({ lower, target, options: OVERLAY_OPTIONS }));
}

/** A writable mount: what is changed in it appears in `upper`, which nobody else may touch meanwhile. */
export function writableView(lower: readonly string[], upper: string, work: string, target: string): LayerView {
  mkdirSync(work, { recursive: true, mode: 0o700 });
  return mounted(target, () => mountOverlaySync({ lower, upper, work, target, options: OVERLAY_OPTIONS }));
}

/**
 * `off` would still follow the redirects of a lower layer where the kernel was built to (redirect_always_follow, the
 * default); `nofollow` makes none and follows none.
 */
export const OVERLAY_OPTIONS: readonly string[] = ['redirect_dir=nofollow'];

function mounted(target: string, mount: () => void): LayerView {
  mkdirSync(target, { recursive: true, mode: 0o700 });
  mount();
  return {
    path: target,
    [Symbol.dispose]: () => {
      // Between fork and exec a child of the daemon holds copies of our descriptors, also of those we closed: busy for a moment.
      unmountSync(target, { detach: true });
      rmdirSync(target);
    },
  };
}
