import { constants } from 'node:os';
import { describe, expect, test } from '@jest/globals';
import { criSignal, linuxSignal } from '../../../src/cri/signals.ts';
import { Signal } from '../../../src/generated/cri.js';

const signals: Readonly<Record<string, number>> = constants.signals;

/** Node knows the usual names; the rest follow from SIGRTMIN = 34 and SIGRTMAX = 64 of glibc. */
function expected(name: string): number | undefined {
  if (name === 'SIGNAL_RUNTIME_DEFAULT') return undefined;
  const short = name.replace('SIGNAL_', '').replace('SIGCLD', 'SIGCHLD');
  const realTime = /^SIGRT(MIN|MAX)(?:(PLUS|MINUS)(\d+))?$/.exec(short);
  if (!realTime) return signals[short];
  const offset = Number(realTime[3] ?? 0) * (realTime[2] === 'MINUS' ? -1 : 1);
  return (realTime[1] === 'MIN' ? 34 : 64) + offset;
}

describe('a signal of CRI', () => {
  test.each(Object.entries(Signal))('%s is what Linux calls so', (name, number) => {
    expect(linuxSignal('stop_signal', number)).toBe(expected(name));
  });

  test('comes back as a number that means the same', () => {
    for (const number of Object.values(Signal)) {
      const linux = linuxSignal('stop_signal', number);
      if (linux !== undefined) expect(linuxSignal('stop_signal', criSignal(linux))).toBe(linux);
    }
    expect(criSignal(32)).toBe(0);
  });

  test('that is none is refused', () => {
    expect(() => linuxSignal('config.stop_signal', 66)).toThrow('config.stop_signal: 66 is no signal');
    expect(() => linuxSignal('config.stop_signal', -1)).toThrow('is no signal');
  });
});
