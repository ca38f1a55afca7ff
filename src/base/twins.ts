/**
 * Creations that a caller may ask for twice: the kubelet repeats a request whose deadline has passed, with the same name
 * and attempt, and the first one, its twin, may still be at work.
 *
 * The work belongs to the name, not to the request. A caller who cancels takes it along when nobody else waits: it is
 * aborted and undone. A caller whose deadline passes does not: the work goes on for a while, and the retry waits for it and
 * gets its result, as if it were its own; slow work then ends at some time instead of beginning anew for ever. The
 * result of work that ended while nobody waited is given to the retry as well, once. Whoever asks again after that is
 * told that the name is taken: he has his answer already.
 */
import { isDeepStrictEqual } from 'node:util';
import { abortError, CairnError, isCairnError, throwIfAborted } from './errors.ts';
import { type Activity, describeStage, sharedActivity, stage, stoppedIn } from './stages.ts';

/** How long work goes on for which nobody waits. The kubelet retries within seconds, at most after its back-off. */
const LINGER_MS = 120_000;
/** How long the result of such work is kept for the retry. */
const KEEP_MS = 600_000;

interface Twin<T> {
  readonly config: unknown;
  readonly controller: AbortController;
  readonly activity: Activity;
  readonly result: Promise<T>;
  waiting: number;
  timer: NodeJS.Timeout | undefined;
  done: { readonly value: T } | undefined;
}

export interface TwinsOptions<T> {
  /** Of the work, and the stage of those who wait: `pod.run`. */
  readonly step: string;
  /** Whether what an earlier call made is still as it was then. */
  readonly isThere: (made: T) => boolean;
  readonly lingerMs?: number;
}

/** Disposing aborts what runs and waits until it has stopped. */
export class Twins<T> implements AsyncDisposable {
  readonly #options: TwinsOptions<T>;
  readonly #byName = new Map<string, Twin<T>>();

  constructor(options: TwinsOptions<T>) {
    this.#options = options;
  }

  /**
   * Does `work`, or waits for the one that is at work under this name. AlreadyExists when that one makes something else.
   * `what` names it in messages.
   */
  async run(
    request: { readonly name: string; readonly what: string; readonly config: unknown },
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { step, isThere } = this.#options;
    for (;;) {
      throwIfAborted(signal, step);
      const twin = this.#byName.get(request.name);
      if (!twin) return await this.#wait(request, this.#start(request, work), signal, false);
      if (twin.done && !isThere(twin.done.value)) {
        this.#forget(request.name, twin);
      } else if (twin.controller.signal.aborted) {
        // It is being undone and holds the name until then, unless it was quicker than that.
        const made = await this.#wait(request, twin, signal, true).catch((error: unknown) => {
          if (signal?.aborted) throw error;
        });
        if (made !== undefined && isDeepStrictEqual(twin.config, request.config)) return made;
      } else if (!isDeepStrictEqual(twin.config, request.config)) {
        const message = `${request.what} is being made with another configuration, in ${describeStage(twin.activity.current())}`;
        throw new CairnError('AlreadyExists', message, { step });
      } else {
        return await this.#wait(request, twin, signal, true);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const reason = new CairnError('Unavailable', 'the daemon is stopping', { step: this.#options.step });
    const twins = [...this.#byName.values()];
    for (const twin of twins) {
      clearTimeout(twin.timer);
      twin.controller.abort(reason);
    }
    await Promise.allSettled(twins.map(({ result }) => result));
    this.#byName.clear();
  }

  #start(request: { name: string; config: unknown }, work: (signal: AbortSignal) => Promise<T>): Twin<T> {
    const controller = new AbortController();
    const activity = sharedActivity(this.#options.step);
    const result = activity.run(() => Promise.resolve().then(() => work(controller.signal)));
    const twin: Twin<T> = {
      ...{ config: request.config, controller, activity, result },
      ...{ waiting: 0, timer: undefined, done: undefined },
    };
    this.#byName.set(request.name, twin);
    result.then(
      (value) => {
        activity[Symbol.dispose]();
        clearTimeout(twin.timer);
        if (twin.waiting > 0) return this.#forget(request.name, twin);
        twin.done = { value };
        twin.timer = setTimeout(() => this.#forget(request.name, twin), KEEP_MS).unref();
      },
      () => {
        activity[Symbol.dispose]();
        this.#forget(request.name, twin);
      },
    );
    return twin;
  }

  async #wait(
    { name, what }: { name: string; what: string },
    twin: Twin<T>,
    signal: AbortSignal | undefined,
    joined: boolean,
  ): Promise<T> {
    const { step } = this.#options;
    clearTimeout(twin.timer);
    twin.waiting++;
    try {
      const waiting = () => resultOrAbort(twin.result, signal, step);
      const value = await stage(joined ? `${step}.twin` : step, waiting, { waitsFor: () => twin.activity });
      this.#forget(name, twin);
      return value;
    } catch (error) {
      if (!signal?.aborted) throw error;
      const late = isCairnError(error, 'DeadlineExceeded');
      if (--twin.waiting === 0) await this.#abandon(twin, late, error);
      if (!late) throw error;
      const who = joined ? 'an earlier call for it is still at work' : 'the work goes on for a retry to find';
      const view = twin.activity.current();
      const message = `${what}: the deadline passed; ${who}, in ${describeStage(view)}`;
      throw stoppedIn(new CairnError('DeadlineExceeded', message, { step, cause: error }), view);
    }
  }

  /** The last one left. */
  async #abandon(twin: Twin<T>, late: boolean, why: unknown): Promise<void> {
    const { step, lingerMs = LINGER_MS } = this.#options;
    if (late) {
      const giveUp = () =>
        twin.controller.abort(new CairnError('DeadlineExceeded', `${step}: nobody came back for it`, { step }));
      if (!twin.done) twin.timer = setTimeout(giveUp, lingerMs).unref();
      return;
    }
    twin.controller.abort(why);
    // Nothing moves behind the back of one who cancelled.
    await twin.result.catch(() => undefined);
  }

  #forget(name: string, twin: Twin<T>): void {
    clearTimeout(twin.timer);
    if (this.#byName.get(name) === twin) this.#byName.delete(name);
  }
}

function resultOrAbort<T>(result: Promise<T>, signal: AbortSignal | undefined, step: string): Promise<T> {
  if (signal === undefined) return result;
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(abortError(signal, step));
    if (signal.aborted) return onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    result.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
