/** Block I/O of a cgroup and of those below it, by device. */
import { readlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { type CgroupDirectories, isAbsent, readText } from './cgroup-files.ts';

export interface DeviceIo {
  readonly major: string;
  readonly minor: string;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly reads: number;
  readonly writes: number;
}

export async function readDeviceIo(cgroup: CgroupDirectories): Promise<DeviceIo[]> {
  const { blkio, unified } = cgroup;
  if (blkio === undefined) return parseIoStat((await readText(unified, 'io.stat')) ?? '');
  const [bytes = '', operations = ''] = await Promise.all([
    readText(blkio, 'blkio.throttle.io_service_bytes_recursive'),
    readText(blkio, 'blkio.throttle.io_serviced_recursive'),
  ]);
  return parseBlkio(bytes, operations);
}

/** v2: `MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N dbytes=N dios=N`. */
export function parseIoStat(text: string): DeviceIo[] {
  return text.split('\n').flatMap((line) => {
    const [, major, minor, rest = ''] = /^(\d+):(\d+) (.*)$/.exec(line) ?? [];
    if (major === undefined || minor === undefined) return [];
    const values = new Map(rest.split(' ').map((part): [string, number] => splitPair(part)));
    const value = (key: string) => values.get(key) ?? 0;
    const bytes = { readBytes: value('rbytes'), writeBytes: value('wbytes') };
    return [{ major, minor, ...bytes, reads: value('rios'), writes: value('wios') }];
  });
}

function splitPair(part: string): [string, number] {
  const [key = '', value] = part.split('=');
  return [key, Number(value)];
}

/** v1: `MAJOR:MINOR Read N` and so on, one file for bytes and one for operations. */
export function parseBlkio(bytes: string, operations: string): DeviceIo[] {
  const [inBytes, inOperations] = [parseBlkioFile(bytes), parseBlkioFile(operations)];
  const devices = new Set([...inBytes.keys(), ...inOperations.keys()]);
  return Array.from(devices, (device) => {
    const [major = '', minor = ''] = device.split(':');
    const [sizes, counts] = [inBytes.get(device), inOperations.get(device)];
    return {
      ...{ major, minor },
      readBytes: sizes?.get('Read') ?? 0,
      writeBytes: sizes?.get('Write') ?? 0,
      reads: counts?.get('Read') ?? 0,
      writes: counts?.get('Write') ?? 0,
    };
  });
}

function parseBlkioFile(text: string): Map<string, Map<string, number>> {
  const devices = new Map<string, Map<string, number>>();
  for (const [, device = '', operation = '', value] of text.matchAll(/^(\d+:\d+) (\w+) (\d+)$/gm)) {
    const values = devices.get(device) ?? new Map<string, number>();
    devices.set(device, values.set(operation, Number(value)));
  }
  return devices;
}

/** More devices than any host has; the names are kept while the daemon lives. */
const NAMES_MAX = 4096;
const names = new Map<string, string>();

/** `/dev/vda` for 254:0; the numbers themselves where the kernel has no name for them (a device that is no disk). */
export async function deviceName(major: string, minor: string): Promise<string> {
  const numbers = `${major}:${minor}`;
  const known = names.get(numbers);
  if (known !== undefined) return known;
  let name = numbers;
  try {
    name = `/dev/${basename(await readlink(`/sys/dev/block/${numbers}`))}`;
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
  if (names.size < NAMES_MAX) names.set(numbers, name);
  return name;
}
