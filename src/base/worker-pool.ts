/**
 * A few worker threads for heavy work, one job each at a time; further jobs wait in turn.
 *
 * A worker starts with the first job that needs it. At most one is kept when idle, and only for `idleMs`: an idle thread
 * costs about 10 MB. A `CairnError` thrown in the worker arrives with its kind and step, a system error with its code.
 * `run` settles when the worker has answered, also after an abort, so whoever cleans up then finds nobody still writing;
 * a worker that does not answer within `abortMs` is ended by force.
 *
 * The worker's program calls `serveJobs` once. Its file is named `…-worker.ts` and found by `workerUrl`.
 */
import { type ResourceLimits, Worker } from 'node:worker_threads';
import { abortError, CairnError, errnoOf, isCairnError, throwIfAborted } from './errors.ts';
import { Semaphore } from './locks.ts';
import { type FromWorker, reviveError, type ToWorker } from './worker-protocol.ts';

export { serveJobs } from './worker-protocol.ts';

export interface WorkerPoolOptions {
  /** For messages and thread names: `digest`. */
  readonly name: string;
  /** From `workerUrl`. */
  readonly url: URL;
  readonly workersMax?: number;
  readonly idleMs?: number;
  readonly abortMs?: number;
  readonly resourceLimits?: ResourceLimits;
}

/** Disposing cancels what runs or waits and ends the threads. */
export interface WorkerPool<Job, Result> extends AsyncDisposable {
  /** Runs one job (structured clone: SharedArrayBuffers are shared). A result that beats the abort is returned. */
  run(job: Job, signal?: AbortSignal): Promise<Result>;
  /** Threads alive now, for tests and metrics. */
  readonly threads: number;
}

export function createWorkerPool<Job, Result>(options: WorkerPoolOptions): WorkerPool<Job, Result> {
  return new Pool<Job, Result>(options);
}

class Pool<Job, Result> implements WorkerPool<Job, Result> {
  readonly #options: WorkerPoolOptions;
  readonly #places: Semaphore;
  readonly #alive = new Set<PooledWorker<Job, Result>>();
  readonly #disposal = new AbortController();
  #idle: PooledWorker<Job, Result> | undefined;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#places = new Semaphore(options.workersMax ?? 2);
  }

  get threads(): number {
    return this.#alive.size;
  }

  async run(job: Job, signal?: AbortSignal): Promise<Result> {
    const disposal = this.#disposal.signal;
    const either = signal ? AbortSignal.any([signal, disposal]) : disposal;
    using _place = await this.#places.acquire(either);
    throwIfAborted(either, this.#options.name);
    const worker = this.#take();
    try {
      return await worker.run(job, either);
    } finally {
      this.#park(worker);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposal.abort(new CairnError('Cancelled', `${this.#options.name}: the worker pool is closing`));
    clearTimeout(this.#idleTimer);
    this.#idle?.end();
    this.#idle = undefined;
    await Promise.all(Array.from(this.#alive, (worker) => worker.ended));
  }

  #take(): PooledWorker<Job, Result> {
    clearTimeout(this.#idleTimer);
    const idle = this.#idle;
    this.#idle = undefined;
    if (idle && !idle.dead) return idle;
    const worker = new PooledWorker<Job, Result>(this.#options);
    this.#alive.add(worker);
    void worker.ended.then(() => this.#alive.delete(worker));
    return worker;
  }

  #park(worker: PooledWorker<Job, Result>): void {
    if (worker.dead) return;
    if (this.#idle || this.#disposal.signal.aborted) {
      worker.end();
      return;
    }
    this.#idle = worker;
    this.#idleTimer = setTimeout(() => {
      this.#idle = undefined;
      worker.end();
    }, this.#options.idleMs ?? 5000);
    this.#idleTimer.unref();
  }
}

/** One thread. It keeps the process alive only while it has a job. */
class PooledWorker<Job, Result> {
  readonly ended: Promise<void>;
  readonly #options: WorkerPoolOptions;
  readonly #thread: Worker;
  #dead = false;
  #jobId = 0;
  #failure: unknown;
  #settle: ((answer: FromWorker<Result> | undefined) => void) | undefined;

  constructor(options: WorkerPoolOptions) {
    this.#options = options;
    this.#thread = new Worker(options.url, {
      name: options.name,
      ...(options.resourceLimits && { resourceLimits: options.resourceLimits }),
    });
    this.#thread.on('message', (answer: FromWorker<Result>) => this.#settle?.(answer));
    this.#thread.on('error', (error) => {
      this.#failure = error;
    });
    this.ended = new Promise((resolve) => {
      this.#thread.on('exit', () => {
        this.#dead = true;
        this.#settle?.(undefined);
        resolve();
      });
    });
  }

  get dead(): boolean {
    return this.#dead;
  }

  end(): void {
    this.#dead = true;
    void this.#thread.terminate();
  }

  async run(job: Job, signal: AbortSignal): Promise<Result> {
    const id = ++this.#jobId;
    let force: NodeJS.Timeout | undefined;
    const onAbort = () => {
      this.#post({ id, abort: true });
      force = setTimeout(() => this.end(), this.#options.abortMs ?? 10_000);
    };
    this.#thread.ref();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const answer = await new Promise<FromWorker<Result> | undefined>((resolve) => {
        this.#settle = resolve;
        this.#post({ id, job });
      });
      if (answer === undefined) throw this.#deathError(signal);
      if (answer.ok) return answer.result;
      const error = reviveError(answer.error);
      throw signal.aborted && isCairnError(error, 'Cancelled') ? abortError(signal, this.#options.name) : error;
    } finally {
      this.#settle = undefined;
      clearTimeout(force);
      signal.removeEventListener('abort', onAbort);
      this.#thread.unref();
    }
  }

  #post(message: ToWorker<Job>): void {
    this.#thread.postMessage(message);
  }

  #deathError(signal: AbortSignal): unknown {
    const { name } = this.#options;
    if (errnoOf(this.#failure) === 'ERR_WORKER_OUT_OF_MEMORY') {
      return new CairnError('ResourceExhausted', `${name}: the worker reached its memory limit`, { step: name });
    }
    if (this.#failure !== undefined) return this.#failure;
    if (signal.aborted) return abortError(signal, name);
    return new CairnError('Internal', `${name}: the worker ended before its job did`, { step: name });
  }
}
