/**
 * What every request is doing right now, and for how long: so that a stuck one explains itself.
 *
 * An `Activity` is one request, or one piece of work that several requests wait for. Code says where it is by running its
 * steps in `stage('network.add', work)`; the activity is found through the asynchronous context, so nobody hands it on.
 * Stages nest and run beside each other; `current` is the innermost one that has lasted longest, which is where time passes.
 * A stage that waits for another activity (a twin, the holder of a lock, a shared download) names it, and `current` then
 * tells that one's stage.
 *
 * Names are `module.step` and few (they label a metric); what differs from case to case is the detail. Entering and
 * leaving a stage costs 2 to 3 microseconds.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { series } from './metrics.ts';

interface OpenStage {
  readonly name: string;
  readonly detail: string;
  readonly enteredAt: number;
  readonly waitsFor: (() => Activity | undefined) | undefined;
  inner: number;
}

interface Frame {
  readonly activity: Activity;
  readonly open: OpenStage | undefined;
}

/** Where an activity is. */
export interface StageView {
  /** Empty before the first stage and between two. */
  readonly stage: string;
  readonly detail: string;
  readonly inStageMs: number;
  /** What the stage waits for, when that is work of another activity. */
  readonly waitsFor: { readonly activity: Activity; readonly at: StageView } | undefined;
}

export interface StageOptions {
  readonly detail?: string;
  /** Asked whenever somebody looks. */
  readonly waitsFor?: () => Activity | undefined;
}

/** A chain of waits is followed this far: it could lead back to where it began. */
const CHAIN_MAX = 4;

const frames = new AsyncLocalStorage<Frame>();
const live = new Set<Activity>();
const failedIn = new WeakMap<object, string>();

export class Activity implements Disposable {
  /** A gRPC method's name, or that of the work. */
  readonly method: string;
  readonly id: string;
  readonly subject: Readonly<Record<string, unknown>>;
  readonly startedAt = performance.now();
  readonly #open = new Set<OpenStage>();
  readonly #spentMs = new Map<string, number>();
  #last = performance.now();
  #ended = false;

  constructor(method: string, options: { id?: string; subject?: object } = {}) {
    this.method = method;
    this.id = options.id ?? '';
    this.subject = { ...options.subject };
  }

  get durationMs(): number {
    return performance.now() - this.startedAt;
  }

  /** Runs `work` as this activity. */
  run<T>(work: () => T): T {
    return frames.run({ activity: this, open: undefined }, work);
  }

  current(): StageView {
    return this.#view(0);
  }

  /** How long each stage took so far, the longest first; those that run beside each other may sum up to more than the whole. */
  spentMs(): Record<string, number> {
    const spent = new Map(this.#spentMs);
    const now = performance.now();
    for (const { name, enteredAt } of this.#open) spent.set(name, (spent.get(name) ?? 0) + now - enteredAt);
    const sorted = [...spent].sort(([, a], [, b]) => b - a);
    return Object.fromEntries(sorted.map(([name, ms]) => [name, Math.round(ms)]));
  }

  /** What still runs in its context (a watcher that it started) belongs to nobody from now on. */
  [Symbol.dispose](): void {
    this.#ended = true;
    live.delete(this);
  }

  get ended(): boolean {
    return this.#ended;
  }

  enter(open: OpenStage): void {
    this.#open.add(open);
  }

  leave(open: OpenStage): void {
    this.#open.delete(open);
    this.#last = performance.now();
    const ms = this.#last - open.enteredAt;
    this.#spentMs.set(open.name, (this.#spentMs.get(open.name) ?? 0) + ms);
    series.requestStage.observe({ method: this.method, stage: open.name }, ms / 1000);
  }

  #view(depth: number): StageView {
    // In the order of entering: the first without an inner one has lasted longest.
    const open = this.#open.values().find(({ inner }) => inner === 0);
    const now = performance.now();
    if (!open) return { stage: '', detail: '', inStageMs: now - this.#last, waitsFor: undefined };
    const activity = depth < CHAIN_MAX ? open.waitsFor?.() : undefined;
    const waitsFor =
      activity === undefined || activity === this ? undefined : { activity, at: activity.#view(depth + 1) };
    return { stage: open.name, detail: open.detail, inStageMs: now - open.enteredAt, waitsFor };
  }
}

/** Runs `work` as a stage of the activity that this code belongs to, if it belongs to any. */
export async function stage<T>(name: string, work: () => Promise<T>, options: StageOptions = {}): Promise<T> {
  const frame = frames.getStore();
  if (frame === undefined || frame.activity.ended) return await attributed(name, work);
  const { activity, open: outer } = frame;
  const { detail = '', waitsFor } = options;
  const open: OpenStage = { name, detail, enteredAt: performance.now(), waitsFor, inner: 0 };
  if (outer) outer.inner++;
  activity.enter(open);
  try {
    return await frames.run({ activity, open }, () => attributed(name, work));
  } finally {
    if (outer) outer.inner--;
    activity.leave(open);
  }
}

/** Remembers of what is thrown in which stage that was, the innermost one. */
async function attributed<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (typeof error === 'object' && error !== null && !failedIn.has(error)) failedIn.set(error, name);
    throw error;
  }
}

/** The stage in which `error` was thrown, if it was in one. */
export function stageOf(error: unknown): string | undefined {
  return typeof error === 'object' && error !== null ? failedIn.get(error) : undefined;
}

/** Says of an error that ends a wait where that stood. */
export function stoppedIn<E extends object>(error: E, view: StageView): E {
  const last = stagePath(view).at(-1);
  if (last) failedIn.set(error, last.stage);
  return error;
}

export function currentActivity(): Activity | undefined {
  return frames.getStore()?.activity;
}

/** A new activity that is listed until it is disposed: a request. */
export function beginRequest(method: string, options: { id: string; subject: object }): Activity {
  const activity = new Activity(method, options);
  live.add(activity);
  return activity;
}

/** The requests under way, oldest first. */
export function liveRequests(): Activity[] {
  return [...live];
}

/** Work that outlives the request that began it: what it does counts under that request's method. */
export function sharedActivity(name: string): Activity {
  return new Activity(currentActivity()?.method ?? name);
}

/** `stage pod.run > network.plugin (bridge) for 3.2 s`: the time is that of the last one. */
export function describeStage(view: StageView): string {
  const path = stagePath(view);
  const last = path.at(-1);
  if (!last) return `no particular stage for ${seconds(view.inStageMs)}`;
  const names = path.map(({ stage: name, detail }) => (detail === '' ? name : `${name} (${detail})`));
  return `stage ${names.join(' > ')} for ${seconds(last.inStageMs)}`;
}

/** From the request's own stage to the one where time passes; a request that is waited for shows as a step of its own. */
export function stagePath(view: StageView): Pick<StageView, 'stage' | 'detail' | 'inStageMs'>[] {
  const { waitsFor } = view;
  const own = view.stage === '' ? [] : [view];
  if (!waitsFor) return own;
  const { method, id } = waitsFor.activity;
  const other = id === '' ? [] : [{ stage: method, detail: `request ${id}`, inStageMs: waitsFor.activity.durationMs }];
  return [...own, ...other, ...stagePath(waitsFor.at)];
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
