/**
 * Ends a pull that gets nothing from its registry any more. Each request to a registry has limits of its own; this is the
 * one for the whole, over all retries, and a registry that answers everything but the one layer that counts meets it too.
 *
 * Time counts only while the registry is waited for: not while a layer is unpacked, and not in a queue behind other pulls.
 */
import { CairnError } from '../base/errors.ts';

export interface Standing {
  /** Changes with everything that was got. */
  readonly mark: string;
  /** What the registry is asked for now, in words; undefined while it is not waited for. */
  readonly waitingFor: string | undefined;
}

/** Looks per timeout: the end comes at most this part late. */
const LOOKS = 20;
const LOOK_MS_MAX = 5_000;

export class ProgressWatch implements Disposable {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;

  /** `name` is the image's. */
  constructor(name: string, timeoutMs: number, standing: () => Standing) {
    let { mark } = standing();
    let since = performance.now();
    const look = () => {
      const now = standing();
      if (now.mark !== mark || now.waitingFor === undefined) {
        mark = now.mark;
        since = performance.now();
        return;
      }
      const waitedMs = performance.now() - since;
      if (waitedMs < timeoutMs) return;
      // The kubelet looks for this prefix (cri-api, pkg/errors).
      const message = `RegistryUnavailable: ${name}: no progress for ${(waitedMs / 1000).toFixed(1)} s while waiting for ${now.waitingFor}`;
      this.#controller.abort(new CairnError('Unknown', message, { step: 'images.pull' }));
    };
    this.#timer = setInterval(look, Math.min(timeoutMs / LOOKS, LOOK_MS_MAX));
  }

  /** Fires with `Unknown` as its reason: what came so far is kept for the next pull. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
