/** How far a pull is, told to its callers a few times a second. */
import type { Digest } from '../base/digest.ts';
import type { LayerProgress, PullProgress } from './index.ts';

/** Ten times a second. */
const INTERVAL_MS = 100;

/** One layer under way; whoever works on it keeps it true, samplers read it. */
export type LayerState = { -readonly [Key in keyof LayerProgress]: LayerProgress[Key] } & {
  /** A thread digests or unpacks it; else an `unpacking` one still waits for its turn. */
  inHand: boolean;
};

export function newLayerState(digest: Digest, sizeBytes: number): LayerState {
  return { digest, sizeBytes, state: 'waiting', downloadedBytes: 0, inHand: false };
}

/** Calls `report` with what `sample` gives, when that changed, at most ten times a second, and once more at the end. */
export function reportProgress(sample: () => PullProgress, report: (progress: PullProgress) => void): Disposable {
  let last = '';
  const tell = () => {
    const progress = sample();
    const text = JSON.stringify(progress);
    if (text === last) return;
    last = text;
    report(progress);
  };
  tell();
  const timer = setInterval(tell, INTERVAL_MS);
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      tell();
    },
  };
}
