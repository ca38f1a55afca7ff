import { beforeEach, describe, expect, test } from '@jest/globals';
import { Listeners } from '../../../src/base/listeners.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type {
  Container,
  ContainerService,
  ContainerState,
  ContainerTransition,
} from '../../../src/containers/index.ts';
import { EventClock } from '../../../src/events/clock.ts';
import { createEventService, type EventService, type LifeEvent } from '../../../src/events/index.ts';
import type { Pod, PodService, PodState, PodTransition } from '../../../src/pods/index.ts';
import { containerConfig, readyPod } from '../../fixtures/pod-configs.ts';

/** Rows in memory that announce their changes as the services do: after the change, at once. */
class Rows {
  readonly pods = new Map<string, Pod>();
  readonly containers = new Map<string, Container>();
  readonly #podListeners = new Listeners<PodTransition>(silentLogger);
  readonly #containerListeners = new Listeners<ContainerTransition>(silentLogger);

  readonly podService = {
    get: (id: string) => this.pods.get(id),
    list: () => [...this.pods.values()].filter(({ state }) => state !== 'creating'),
    onTransition: (listener: (transition: PodTransition) => void) => this.#podListeners.add(listener),
  } as unknown as PodService;

  readonly containerService = {
    list: ({ podId }: { podId: string }) =>
      [...this.containers.values()].filter((one) => one.podId === podId && one.state !== 'creating'),
    onTransition: (listener: (transition: ContainerTransition) => void) => this.#containerListeners.add(listener),
  } as unknown as ContainerService;

  pod(id: string, to: PodState | 'removed'): void {
    const from = this.pods.get(id)?.state;
    if (to === 'removed') this.pods.delete(id);
    else this.pods.set(id, readyPod({ id, state: to }));
    this.#podListeners.emit({ id, from, to, atNs: 0n });
  }

  container(id: string, podId: string, to: ContainerState | 'removed'): void {
    const from = this.containers.get(id)?.state;
    if (to === 'removed') this.containers.delete(id);
    else this.containers.set(id, { id, podId, state: to, config: containerConfig() } as Container);
    this.#containerListeners.emit({ id, podId, from, to, atNs: 0n });
  }
}

let rows: Rows;
let events: EventService;
const limits = { pendingMax: 5, readersMax: 2, missedMax: 100, missedMs: 50 };
const make = () =>
  createEventService({ pods: rows.podService, containers: rows.containerService, log: silentLogger, limits });

beforeEach(() => {
  rows = new Rows();
  events = make();
});

const short = ({ id, kind }: LifeEvent) => `${id} ${kind}`;

/** A reader that has begun to listen. */
function listen(count: number) {
  const controller = new AbortController();
  const reader = events.subscribe(controller.signal);
  const seen: LifeEvent[] = [];
  const done = (async () => {
    while (seen.length < count) {
      const { value, done: ended } = await reader.next();
      if (ended || !value) break;
      seen.push(value);
    }
    return seen;
  })();
  return { reader, controller, done };
}

describe('events', () => {
  test('tell a whole life once and in order, with pod and containers as they were', async () => {
    events.started();
    const { done, reader } = listen(8);
    rows.pod('p', 'creating');
    rows.pod('p', 'ready');
    rows.container('c', 'p', 'creating');
    rows.container('c', 'p', 'created');
    await new Promise(setImmediate);
    rows.container('c', 'p', 'running');
    rows.container('c', 'p', 'exited');
    await new Promise(setImmediate);
    rows.pod('p', 'notready');
    rows.container('c', 'p', 'removed');
    rows.pod('p', 'removed');
    const seen = await done;
    expect(seen.map(short)).toEqual([
      ...['p created', 'p started', 'c created', 'c started', 'c stopped', 'p stopped', 'c deleted', 'p deleted'],
    ]);
    expect(seen.map(({ pod }) => pod.state)).toEqual([...Array(5).fill('ready'), ...Array(3).fill('notready')]);
    const states = seen.map(({ containers }) => containers.map(({ state }) => state).join());
    expect(states).toEqual(['', '', 'created', 'running', 'exited', 'exited', '', '']);
    for (const [index, event] of seen.entries()) {
      if (index > 0) expect(event.atNs).toBeGreaterThan(seen[index - 1]?.atNs ?? 0n);
    }
    await reader.return();
  });

  test('say nothing of what never became visible, and tell a failed start as a stop', async () => {
    events.started();
    const { done, reader } = listen(4);
    rows.pod('undone', 'creating');
    rows.pod('undone', 'removed');
    rows.pod('p', 'creating');
    rows.pod('p', 'ready');
    rows.container('undone', 'p', 'creating');
    rows.container('undone', 'p', 'removed');
    rows.container('c', 'p', 'creating');
    rows.container('c', 'p', 'created');
    rows.container('c', 'p', 'exited');
    expect((await done).map(short)).toEqual(['p created', 'p started', 'c created', 'c stopped']);
    await reader.return();
  });

  test('of a pod that was there before the daemon carry that pod', async () => {
    rows.pods.set('old', readyPod({ id: 'old' }));
    events[Symbol.dispose]();
    events = make();
    events.started();
    const { done, reader } = listen(1);
    rows.container('c', 'old', 'exited');
    expect((await done)[0]).toMatchObject({ id: 'c', kind: 'stopped', pod: { id: 'old' } });
    await reader.return();
  });

  test('that were missed go to the readers of the first minute, and if there are none to the first', async () => {
    rows.pods.set('p', readyPod({ id: 'p' }));
    for (const late of [false, true]) {
      events[Symbol.dispose]();
      events = make();
      rows.container('c', 'p', 'exited');
      events.started();
      if (late) await new Promise((resolve) => setTimeout(resolve, limits.missedMs + 20));
      const first = listen(1);
      expect((await first.done).map(short)).toEqual(['c stopped']);
      await first.reader.return();
      const second = listen(1);
      rows.pod('p', 'notready');
      expect((await second.done).map(short)).toEqual([late ? 'p stopped' : 'c stopped']);
      await second.reader.return();
      rows.pods.set('p', readyPod({ id: 'p' }));
    }
  });

  test('a reader that falls behind is cut off with ResourceExhausted, and the others are not', async () => {
    events.started();
    const slow = listen(1);
    rows.pod('p', 'creating');
    rows.pod('p', 'ready');
    await slow.done;
    const quick = listen(12);
    await new Promise(setImmediate);
    for (let index = 0; index < 12; index++) {
      rows.container(`c${index}`, 'p', 'created');
      await new Promise(setImmediate);
    }
    expect((await quick.done).length).toBe(12);
    await expect(slow.reader.next()).rejects.toMatchObject({ kind: 'ResourceExhausted' });
    await quick.reader.return();
  });

  test('the number of readers is bounded, and one that leaves makes room', async () => {
    events.started();
    const [one, two, three] = [listen(1), listen(1), listen(1)];
    await expect(three.done).rejects.toMatchObject({ kind: 'ResourceExhausted' });
    one.controller.abort();
    await expect(one.done).rejects.toMatchObject({ kind: 'Cancelled' });
    const four = listen(1);
    rows.pod('p', 'creating');
    rows.pod('p', 'ready');
    expect((await four.done).map(short)).toEqual(['p created']);
    await Promise.all([two.done, two.reader.return(), four.reader.return()]);
  });
});

test('the clock of events gives each its own time, close to the wall clock', () => {
  const clock = new EventClock();
  const times = Array.from({ length: 1000 }, () => clock.now());
  for (const [index, time] of times.entries()) if (index > 0) expect(time).toBeGreaterThan(times[index - 1] ?? 0n);
  expect(Math.abs(Number(clock.now() / 1_000_000n) - Date.now())).toBeLessThan(20);
});
