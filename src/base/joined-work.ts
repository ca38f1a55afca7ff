/**
 * Work that several callers want at once and that is done once. A caller who gives up leaves alone; the work itself is
 * aborted when the last one left, and that last one waits until it has stopped, so that nothing moves behind his back.
 */
import { abortError, isCairnError, throwIfAborted } from './errors.ts';

interface Running<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  callers: number;
}

export class JoinedWork<T> {
  readonly #step: string;
  readonly #running = new Map<string, Running<T>>();

  /** `step` names the work in the errors of those who gave up. */
  constructor(step: string) {
    this.#step = step;
  }

  /** Whether a caller would join now, not start. */
  has(key: string): boolean {
    return this.#running.has(key);
  }

  /** Starts `work`, or joins the one that runs under `key`. All who stay get its result or its error. */
  async run(key: string, signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    throwIfAborted(signal, this.#step);
    const running = this.#running.get(key) ?? this.#start(key, work);
    running.callers++;
    return await new Promise<T>((resolve, reject) => {
      const leave = () => {
        if (signal === undefined) return;
        const cancelled = abortError(signal, this.#step);
        if (--running.callers > 0) {
          reject(cancelled);
          return;
        }
        this.#forget(key, running);
        running.controller.abort(cancelled);
        running.result.then(resolve, (error) => reject(isCairnError(error, 'Cancelled') ? cancelled : error));
      };
      signal?.addEventListener('abort', leave, { once: true });
      const settled = () => signal?.removeEventListener('abort', leave);
      running.result.then(resolve, reject).finally(settled);
    });
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>): Running<T> {
    const controller = new AbortController();
    const running: Running<T> = {
      controller,
      callers: 0,
      result: Promise.resolve().then(() => work(controller.signal)),
    };
    this.#running.set(key, running);
    // Every caller handles the outcome; this branch only clears the entry.
    running.result.then(
      () => this.#forget(key, running),
      () => this.#forget(key, running),
    );
    return running;
  }

  #forget(key: string, running: Running<T>): void {
    if (this.#running.get(key) === running) this.#running.delete(key);
  }
}
