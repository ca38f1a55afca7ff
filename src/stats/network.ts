/**
 * The counters of a network namespace's devices: read in `/proc` of a process that lives in it, or, while the pod has
 * none, by a thread that visits it.
 */
import { readFile } from 'node:fs/promises';
import { readInNetwork } from '../linux/index.ts';
import { isAbsent } from './cgroup-files.ts';

export interface InterfaceUsage {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

/** Undefined when the namespace is gone. `pids`: processes in it, tried in turn, since any of them may have ended. */
export async function readInterfaces(
  pids: readonly number[],
  netnsPath: string,
): Promise<InterfaceUsage[] | undefined> {
  for (const pid of pids) {
    try {
      const text = await readFile(`/proc/${pid}/net/dev`, 'latin1');
      // Of a zombie it is the file of no namespace: empty.
      if (text !== '') return parseNetDev(text);
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }
  try {
    return parseNetDev(await readInNetwork(netnsPath, '/proc/thread-self/net/dev'));
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

/** Two lines of headings, then `NAME: ` with eight columns received and eight sent. */
export function parseNetDev(text: string): InterfaceUsage[] {
  return text.split('\n').flatMap((line) => {
    const colon = line.indexOf(':');
    if (colon < 0) return [];
    const columns = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    const column = (index: number) => columns[index] ?? 0;
    return [
      {
        name: line.slice(0, colon).trim(),
        ...{ rxBytes: column(0), rxPackets: column(1), rxErrors: column(2), rxDropped: column(3) },
        ...{ txBytes: column(8), txPackets: column(9), txErrors: column(10), txDropped: column(11) },
      },
    ];
  });
}

/** CNI's interface as Cairn names it; else the first that is more than the loopback. */
export function defaultInterface(interfaces: readonly InterfaceUsage[]): InterfaceUsage | undefined {
  return interfaces.find(({ name }) => name === 'eth0') ?? interfaces.find(({ name }) => name !== 'lo');
}
