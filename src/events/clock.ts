/**
 * Wall-clock time in nanoseconds that never repeats or goes back: readers order states by it. `Date.now` has
 * milliseconds, in which a container may be created, started and gone, so the part below comes from the clock that only
 * goes forward; where the two drift apart (somebody set the clock) they are tied together again.
 */
const DRIFT_MS_MAX = 5;

export class EventClock {
  #last = 0n;
  #offsetMs = Date.now() - performance.now();

  now(): bigint {
    const wallMs = Date.now();
    if (Math.abs(wallMs - (this.#offsetMs + performance.now())) > DRIFT_MS_MAX) {
      this.#offsetMs = wallMs - performance.now();
    }
    const ms = this.#offsetMs + performance.now();
    const ns = BigInt(Math.floor(ms)) * 1_000_000n + BigInt(Math.floor((ms % 1) * 1e6));
    this.#last = ns > this.#last ? ns : this.#last + 1n;
    return this.#last;
  }
}
