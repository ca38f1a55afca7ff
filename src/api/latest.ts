/** A value that changes faster than anybody reads it: a reader sees the latest one, at most once an interval. */
import { setTimeout as sleep } from 'node:timers/promises';

export class Latest<T> {
  readonly #intervalMs: number;
  #pending: { readonly value: T } | undefined;
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(intervalMs: number) {
    this.#intervalMs = intervalMs;
  }

  set(value: T): void {
    this.#pending = { value };
    this.#wake();
  }

  /** The last value is still read. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** For one reader. */
  async *values(): AsyncGenerator<T, void, undefined> {
    for (;;) {
      if (this.#pending) {
        const { value } = this.#pending;
        this.#pending = undefined;
        yield value;
        if (!this.#ended) await sleep(this.#intervalMs);
      } else if (this.#ended) {
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}
