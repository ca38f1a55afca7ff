/** The signal that asks a container to end. */
import { constants } from 'node:os';

const SIGTERM = 15;
const SIGNAL_MAX = 64;
const SIGRTMIN = 34;
const SIGRTMAX = 64;

/** The caller's, else the image's STOPSIGNAL (`SIGQUIT`, `quit`, `3`, `SIGRTMIN+3`), else SIGTERM. */
export function stopSignal(asked: number | undefined, imageSignal: string): number {
  return asked ?? parseSignal(imageSignal) ?? SIGTERM;
}

/** Undefined when it names no signal. */
export function parseSignal(unsafeSignal: string): number | undefined {
  const text = unsafeSignal.trim().toUpperCase();
  if (/^\d{1,2}$/.test(text)) return inRange(Number(text));
  const name = text.startsWith('SIG') ? text : `SIG${text}`;
  const realTime = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (realTime) {
    const offset = Number(realTime[3] ?? 0) * (realTime[2] === '-' ? -1 : 1);
    const signal = (realTime[1] === 'MIN' ? SIGRTMIN : SIGRTMAX) + offset;
    return signal >= SIGRTMIN ? inRange(signal) : undefined;
  }
  return Object.entries(constants.signals).find(([known]) => known === name)?.[1];
}

function inRange(signal: number): number | undefined {
  return signal >= 1 && signal <= SIGNAL_MAX ? signal : undefined;
}
