/**
 * Work that several callers want at once and that is done once. A caller who gives up leaves alone; the work itself is
 * aborted when the last one left, and that last one waits until it has stopped, so that nothing moves behind his back.
 */
import { abortError, isCairnError, throwIfAborted } from './errors.ts';
import { type Activity, sharedActivity, stage } from './stages.ts';

interface Running<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  readonly activity: Activity;
  callers: number;
}

export class JoinedWork<T> {
  readonly #step: string;
  readonly #running = new Map<string, Running<T>>();

  /** `step` names the work in the errors of those who gave up, and is the stage of those who wait. */
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
    return await stage(this.#step, () => this.#join(key, running, signal), { waitsFor: () => running.activity });
  }

  #join(key: string, running: Running<T>, signal: AbortSignal | undefined): Promise<T> {
    return new Promise<T>((resolve, reject) => {
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
    const activity = sharedActivity(this.#step);
    const running: Running<T> = {
      controller,
      activity,
      callers: 0,
      result: activity.run(() => Promise.resolve().then(() => work(controller.signal))),
    };
    this.#running.set(key, running);
    // Every caller handles the outcome; this branch only clears the entry.
    const settled = () => {
      activity[Symbol.dispose]();
      this.#forget(key, running);
    };
    running.result.then(settled, settled);
    return running;
  }

  #forget(key: string, running: Running<T>): void {
    if (this.#running.get(key) === running) this.#running.delete(key);
  }
}
