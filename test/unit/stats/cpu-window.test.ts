import { describe, expect, test } from '@jest/globals';
import { CpuWindows } from '../../../src/stats/cpu-window.ts';

const OLD_MS = 3_600_000;

/** Asks every `stepMs` about something that uses `cores`, and returns the last answer. */
function poll(windows: CpuWindows, stepMs: number, count: number, cores: (atMs: number) => number): number | undefined {
  let usageNs = 5e9;
  let answer: number | undefined;
  for (let index = 0; index < count; index++) {
    const atMs = 1_000_000 + index * stepMs;
    answer = windows.note('one', usageNs, atMs, OLD_MS);
    usageNs += cores(atMs) * stepMs * 1e6;
  }
  return answer;
}

describe('cores in use', () => {
  test('need two readings of what has run for long, and one of what has just started', () => {
    const windows = new CpuWindows();
    expect(windows.note('old', 1e9, 1000, OLD_MS)).toBeUndefined();
    expect(windows.note('old', 6e9, 11_000, OLD_MS)).toBe(5e8);
    // Half a second of CPU in the two seconds since the start.
    expect(windows.note('new', 5e8, 1000, 2000)).toBe(2.5e8);
    expect(windows.note('newest', 1e6, 1000, 5)).toBeUndefined();
  });

  test.each([100, 1000, 10_000, 50_000])('are right for an asker every %i ms', (stepMs) => {
    expect(poll(new CpuWindows(), stepMs, 400, () => 1.5)).toBeCloseTo(1.5e9, -3);
  });

  test('follow a change within some fifteen seconds, however often somebody asks', () => {
    const idleSince = 1_000_000 + 30_000;
    expect(poll(new CpuWindows(), 500, 100, (atMs) => (atMs < idleSince ? 2 : 0))).toBe(0);
  });

  test('are unknown again when nobody asked for a minute', () => {
    const windows = new CpuWindows();
    windows.note('one', 1e9, 1000, OLD_MS);
    expect(windows.note('one', 90e9, 91_000, OLD_MS)).toBeUndefined();
    expect(windows.note('one', 100e9, 101_000, OLD_MS)).toBe(1e9);
  });

  test('are never negative: a counter that went back is a new one', () => {
    const windows = new CpuWindows();
    windows.note('one', 50e9, 1000, OLD_MS);
    expect(windows.note('one', 1e9, 11_000, OLD_MS)).toBeUndefined();
  });

  test('keep little, and nothing of what is forgotten', () => {
    const windows = new CpuWindows();
    poll(windows, 10, 5000, () => 1);
    expect(windows.size).toBe(1);
    windows.forget('one');
    expect(windows.size).toBe(0);
  });
});
