/** Whoever wants to hear of something. A listener that throws is logged and does no harm to the others or the caller. */
import { messageOf } from './errors.ts';
import type { Logger } from './log.ts';

export class Listeners<T> {
  readonly #listeners = new Set<(value: T) => void>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Dispose what it returns to hear no more. */
  add(listener: (value: T) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  emit(value: T): void {
    for (const listener of this.#listeners) {
      try {
        listener(value);
      } catch (error) {
        this.#log.error({ err: error }, `a listener failed: ${messageOf(error)}`);
      }
    }
  }
}
