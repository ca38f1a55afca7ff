/** Waiting in turn: a mutex per key and a counting semaphore. Both are fair and both give up when a signal fires. */
import { abortError, throwIfAborted } from './errors.ts';
import { type Activity, currentActivity, stage } from './stages.ts';

interface Waiter {
  grant(): void;
}

/** At most `limit` holders at a time, first come, first served. */
export class Semaphore {
  readonly #limit: number;
  readonly #stage: string;
  readonly #queue: Waiter[] = [];
  #held = 0;
  #lastHolder: Activity | undefined;

  /** `stageName`: of those who wait. */
  constructor(limit: number, stageName = 'wait.turn') {
    this.#limit = limit;
    this.#stage = stageName;
  }

  /** Holders and waiters; 0 means that nobody needs this semaphore now. */
  get load(): number {
    return this.#held + this.#queue.length;
  }

  /** Waits for a place. Dispose what it returns to give the place back. Throws when `signal` fires first. */
  async acquire(signal?: AbortSignal): Promise<Disposable> {
    throwIfAborted(signal, 'wait');
    if (this.#held < this.#limit) {
      this.#held++;
    } else {
      const waitsFor = () => (this.#lastHolder?.ended === false ? this.#lastHolder : undefined);
      await stage(this.#stage, () => this.#wait(signal), { waitsFor });
    }
    this.#lastHolder = currentActivity();
    let released = false;
    return {
      [Symbol.dispose]: () => {
        if (released) return;
        released = true;
        const next = this.#queue.shift();
        if (next) next.grant();
        else this.#held--;
      },
    };
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#queue.splice(this.#queue.indexOf(waiter), 1);
        if (signal) reject(abortError(signal, 'wait'));
      };
      const waiter: Waiter = {
        grant: () => {
          signal?.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      this.#queue.push(waiter);
      signal?.addEventListener('abort', onAbort, { once: true });
    });
  }
}

/** One holder at a time for each key. */
export class KeyedMutex {
  readonly #byKey = new Map<string, Semaphore>();
  readonly #stage: string;

  /** `stageName`: of those who wait. */
  constructor(stageName = 'wait.turn') {
    this.#stage = stageName;
  }

  /** Waits for `key`. Dispose what it returns to let the next one in. Throws when `signal` fires first. */
  async lock(key: string, signal?: AbortSignal): Promise<Disposable> {
    const mutex = this.#byKey.get(key) ?? new Semaphore(1, this.#stage);
    this.#byKey.set(key, mutex);
    let held: Disposable;
    try {
      held = await mutex.acquire(signal);
    } catch (error) {
      this.#forget(key, mutex);
      throw error;
    }
    return {
      [Symbol.dispose]: () => {
        held[Symbol.dispose]();
        this.#forget(key, mutex);
      },
    };
  }

  #forget(key: string, mutex: Semaphore): void {
    if (mutex.load === 0) this.#byKey.delete(key);
  }
}

/** Runs the same work once for all who ask for it while it is under way. */
export class SharedWork<T> {
  readonly #running = new Map<string, Promise<T>>();

  run(key: string, work: () => Promise<T>): Promise<T> {
    const running = this.#running.get(key);
    if (running) return running;
    const started = work().finally(() => this.#running.delete(key));
    this.#running.set(key, started);
    return started;
  }
}
