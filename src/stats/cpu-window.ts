/**
 * How many cores something uses: the difference of two readings of its CPU time.
 *
 * Readings are those that requests make anyway; nothing runs between requests. The window goes back to the oldest
 * reading within `WINDOW_MS_MAX`, so that an asker every ten seconds gets ten-second averages, and several askers don't
 * shorten each other's windows. What has just started is measured from its start; what nobody asked about in the last
 * minute has no value at the first asking.
 */

/** Readings kept for each are at least this far apart; a window is at least as long. */
const SPACING_MS = 2_000;
const WINDOW_MS_PREFERRED = 15_000;
/** An older reading says nothing about now. */
const WINDOW_MS_MAX = 60_000;
/** Of what has just started. */
const FIRST_WINDOW_MS_MIN = 100;

interface Reading {
  readonly atMs: number;
  readonly usageNs: number;
}

export class CpuWindows {
  readonly #readings = new Map<string, Reading[]>();

  /**
   * Notes a reading of `key` and returns nanoseconds of CPU time a second. `ageMs`: since when it runs.
   * `atMs` is of a clock that only goes forward.
   */
  note(key: string, usageNs: number, atMs: number, ageMs: number): number | undefined {
    const kept = (this.#readings.get(key) ?? []).filter(
      // A counter that went back belongs to another life of the cgroup.
      (reading) => atMs - reading.atMs <= WINDOW_MS_MAX && reading.usageNs <= usageNs,
    );
    const newest = kept.at(-1);
    if (newest === undefined || atMs - newest.atMs >= SPACING_MS) kept.push({ atMs, usageNs });
    // One reading beyond the preferred window suffices.
    while (atMs - (kept[1]?.atMs ?? atMs) > WINDOW_MS_PREFERRED) kept.shift();
    this.#readings.set(key, kept);
    const from = kept.find((reading) => atMs - reading.atMs >= SPACING_MS) ?? start(atMs, ageMs);
    return from && Math.round(((usageNs - from.usageNs) * 1000) / (atMs - from.atMs));
  }

  forget(key: string): void {
    this.#readings.delete(key);
  }

  get size(): number {
    return this.#readings.size;
  }
}

function start(atMs: number, ageMs: number): Reading | undefined {
  if (ageMs < FIRST_WINDOW_MS_MIN || ageMs > WINDOW_MS_MAX) return undefined;
  return { atMs: atMs - ageMs, usageNs: 0 };
}
