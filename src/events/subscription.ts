/** One reader of events, with what waits for him. */
import { abortError, CairnError } from '../base/errors.ts';
import type { LifeEvent } from './index.ts';

export class Subscription {
  readonly #pendingMax: number;
  #pending: LifeEvent[];
  #cutOff = false;
  #wake: (() => void) | undefined;

  /** `first`: what the reader gets before anything that happens from now on. */
  constructor(first: readonly LifeEvent[], pendingMax: number) {
    this.#pending = [...first];
    // A long start is not the reader's slowness.
    this.#pendingMax = pendingMax + first.length;
  }

  /** False when too much waits already: the reader is cut off, and what waited is dropped. */
  push(event: LifeEvent): boolean {
    if (this.#pending.length >= this.#pendingMax) {
      this.#cutOff = true;
      this.#pending = [];
    } else {
      this.#pending.push(event);
    }
    this.#wake?.();
    return !this.#cutOff;
  }

  async *read(signal: AbortSignal): AsyncGenerator<LifeEvent, void, undefined> {
    const wake = () => this.#wake?.();
    signal.addEventListener('abort', wake);
    try {
      for (;;) {
        if (signal.aborted) throw abortError(signal, 'events.read');
        if (this.#cutOff) throw tooSlow(this.#pendingMax);
        const next = this.#pending.shift();
        if (next) yield next;
        else await this.#more();
      }
    } finally {
      signal.removeEventListener('abort', wake);
    }
  }

  async #more(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }
}

function tooSlow(pendingMax: number): CairnError {
  const message = `the reader fell more than ${pendingMax} events behind: list pods and containers, then subscribe again`;
  return new CairnError('ResourceExhausted', message, { step: 'events.read' });
}
