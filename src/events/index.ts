/**
 * Events: every change of a pod sandbox's or container's life that CRI has a name for, once and in order, to any number
 * of readers.
 *
 * created -> started -> stopped -> deleted. A sandbox that became ready is created and started in one; a container whose
 * start failed goes from created to stopped. What never became visible (a creation that was undone) has no events.
 *
 * Each event carries the pod and its containers as they were right then; of a deleted pod, as it was last. What was
 * found to have happened while the daemon was down is kept for the readers that come in the first minute, or for the
 * first one; everybody else hears what happens while he listens. A reader that falls too far behind is cut off, with
 * ResourceExhausted, so that he knows that he has to list.
 */
import type { Container } from '../containers/index.ts';
import type { Pod } from '../pods/index.ts';

export type LifeEventKind = 'created' | 'started' | 'stopped' | 'deleted';

export interface LifeEvent {
  /** Of a container or of a sandbox. */
  readonly id: string;
  readonly kind: LifeEventKind;
  /** Later than that of every event before. */
  readonly atNs: bigint;
  readonly pod: Pod;
  readonly containers: readonly Container[];
}

export interface EventService extends Disposable {
  /** Rows and world have been brought together: what follows happens while the daemon lives. */
  started(): void;
  /** Ends with `signal`. ResourceExhausted for a slow reader, or when there are too many readers. */
  subscribe(signal: AbortSignal): AsyncGenerator<LifeEvent, void, undefined>;
}

export { createEventService, type EventServiceOptions } from './service.ts';
