/** Time, and how Cairn tells one boot from the next. */
import { type Check, subject } from './check.ts';
import { readText } from './host.ts';

/** Nothing of Cairn is older. */
const EARLIEST = Date.UTC(2026, 0, 1);
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export async function checkClock(): Promise<Check[]> {
  return [checkTime(Date.now()), checkBootId(await readText('/proc/sys/kernel/random/boot_id'))];
}

export function checkTime(nowMs: number): Check {
  const time = subject('clock.time', 'Registries’ certificates and the order of events hang on the clock.');
  const shown = new Date(nowMs).toISOString();
  if (nowMs >= EARLIEST) return time.ok(shown);
  return time.failed(`${shown} is in the past`, 'Set the clock, and keep it right: apt-get install chrony');
}

export function checkBootId(bootId: string | undefined): Check {
  const boot = subject('clock.boot-id', 'After a reboot Cairn knows by it that no container of before can be running.');
  if (bootId !== undefined && UUID.test(bootId)) return boot.ok(bootId);
  return boot.failed(
    'the kernel does not tell one in /proc/sys/kernel/random/boot_id',
    'Mount proc on /proc with all of its files.',
  );
}
