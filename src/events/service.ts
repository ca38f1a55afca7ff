/** The event service: see index.ts for its contract. */
import { CairnError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { ContainerService, ContainerTransition } from '../containers/index.ts';
import type { Pod, PodService, PodTransition } from '../pods/index.ts';
import { EventClock } from './clock.ts';
import type { EventService, LifeEvent, LifeEventKind } from './index.ts';
import { Subscription } from './subscription.ts';

export interface EventServiceOptions {
  /** Rows not reconciled yet: make the event service before that. */
  readonly pods: PodService;
  readonly containers: ContainerService;
  readonly log: Logger;
  readonly limits?: Partial<EventLimits>;
}

export interface EventLimits {
  /** Events that wait for one reader. */
  readonly pendingMax: number;
  readonly readersMax: number;
  /** Of what happened while the daemon was down: the first ones. */
  readonly missedMax: number;
  /** How long after the start new readers hear of that. */
  readonly missedMs: number;
}

const LIMITS: EventLimits = { pendingMax: 4096, readersMax: 64, missedMax: 4096, missedMs: 60_000 };

export function createEventService(options: EventServiceOptions): EventService {
  return new Events(options);
}

class Events implements EventService {
  readonly #containers: ContainerService;
  readonly #pods: PodService;
  readonly #log: Logger;
  readonly #limits: EventLimits;
  readonly #clock = new EventClock();
  readonly #listeners: Disposable[];
  readonly #subscriptions = new Set<Subscription>();
  /** As they were last: a deleted one can't be asked for any more. */
  readonly #lastSeen = new Map<string, Pod>();
  #missed: LifeEvent[] = [];
  #missedHeard = false;
  /** By the clock that only goes forward; undefined before. */
  #startedMs: number | undefined;

  constructor({ pods, containers, log, limits }: EventServiceOptions) {
    this.#pods = pods;
    this.#containers = containers;
    this.#log = log.child({ module: 'events' });
    this.#limits = { ...LIMITS, ...limits };
    for (const pod of pods.list()) this.#lastSeen.set(pod.id, pod);
    this.#listeners = [
      pods.onTransition((transition) => this.#podChanged(transition)),
      containers.onTransition((transition) => this.#containerChanged(transition)),
    ];
  }

  started(): void {
    this.#startedMs = performance.now();
    if (this.#missed.length > 0) this.#log.info({ events: this.#missed.length }, 'changes while the daemon was down');
  }

  async *subscribe(signal: AbortSignal): AsyncGenerator<LifeEvent, void, undefined> {
    const { readersMax, pendingMax } = this.#limits;
    if (this.#subscriptions.size >= readersMax) {
      throw new CairnError('ResourceExhausted', `${readersMax} readers of events are the most`, {
        step: 'events.read',
      });
    }
    const subscription = new Subscription(this.#takeMissed(), pendingMax);
    this.#subscriptions.add(subscription);
    try {
      yield* subscription.read(signal);
    } finally {
      this.#subscriptions.delete(subscription);
    }
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener[Symbol.dispose]();
  }

  #podChanged({ id, from, to }: PodTransition): void {
    if (to !== 'removed' && to !== 'creating') this.#lastSeen.set(id, this.#pods.get(id));
    for (const kind of podEvents(from, to)) this.#emit(id, id, kind);
    if (to === 'removed') this.#lastSeen.delete(id);
  }

  #containerChanged({ id, podId, from, to }: ContainerTransition): void {
    const kind = containerEvent(from, to);
    if (kind) this.#emit(id, podId, kind);
  }

  #emit(id: string, podId: string, kind: LifeEventKind): void {
    const pod = this.#lastSeen.get(podId);
    // A pod that was never ready has no containers.
    if (!pod) return;
    const containers = this.#containers.list({ podId });
    const event: LifeEvent = { id, kind, atNs: this.#clock.now(), pod, containers };
    if (this.#startedMs === undefined && this.#missed.length < this.#limits.missedMax) this.#missed.push(event);
    for (const subscription of this.#subscriptions) {
      if (subscription.push(event)) continue;
      this.#subscriptions.delete(subscription);
      this.#log.warn({ pending: this.#limits.pendingMax }, 'a reader of events fell too far behind and was cut off');
    }
  }

  /** For the readers of the first minute; if there were none, for the first one. */
  #takeMissed(): readonly LifeEvent[] {
    const missed = this.#missed;
    const sinceStartMs = performance.now() - (this.#startedMs ?? performance.now());
    const early = sinceStartMs <= this.#limits.missedMs;
    if (!early) this.#missed = [];
    if (!early && this.#missedHeard) return [];
    this.#missedHeard = true;
    return missed;
  }
}

function podEvents(from: PodTransition['from'], to: PodTransition['to']): LifeEventKind[] {
  if (to === 'ready') return ['created', 'started'];
  // Its making failed and could not be undone: it is visible from now on.
  if (to === 'notready') return from === 'creating' ? ['created', 'stopped'] : ['stopped'];
  return to === 'removed' && from !== 'creating' ? ['deleted'] : [];
}

function containerEvent(from: ContainerTransition['from'], to: ContainerTransition['to']): LifeEventKind | undefined {
  if (to === 'created') return 'created';
  if (to === 'running') return 'started';
  if (to === 'exited') return 'stopped';
  return to === 'removed' && from !== 'creating' ? 'deleted' : undefined;
}
