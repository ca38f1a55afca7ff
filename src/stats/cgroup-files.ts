/** Reading the kernel's small text files of one cgroup. What the host or the moment does not have is undefined. */
import { readFile } from 'node:fs/promises';
import { errnoOf } from '../base/errors.ts';

/** The directory of one cgroup in each hierarchy, as `cgroupPaths` of linux has it. */
export type CgroupDirectories = Readonly<Record<string, string>>;

/**
 * ENOENT, ENODEV and ESRCH: it has ended. EOPNOTSUPP: built in but switched off (pressure). EINVAL and EACCES are what
 * some controllers say of what they don't account.
 */
const ABSENT: ReadonlySet<string | undefined> = new Set([
  ...['ENOENT', 'ENODEV', 'ESRCH', 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL', 'EACCES', 'ENOTDIR'],
]);

export async function readText(directory: string | undefined, file: string): Promise<string | undefined> {
  if (directory === undefined) return undefined;
  try {
    return await readFile(`${directory}/${file}`, 'latin1');
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}

export function isAbsent(error: unknown): boolean {
  return ABSENT.has(errnoOf(error));
}

/** A file that holds one number. */
export async function readNumber(directory: string | undefined, file: string): Promise<number | undefined> {
  return parseNumber(await readText(directory, file));
}

/** A file that holds a limit: undefined when there is none. */
export async function readLimit(directory: string | undefined, file: string): Promise<number | undefined> {
  return parseLimit(await readText(directory, file));
}

export function parseNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+\s*$/.test(text) ? Number(text) : undefined;
}

/** v1 writes "no limit" as 2^63-1 rounded down to a page, v2 as `max`. */
const UNLIMITED_FROM = 2 ** 62;

export function parseLimit(text: string | undefined): number | undefined {
  const limit = parseNumber(text);
  return limit === undefined || limit >= UNLIMITED_FROM ? undefined : limit;
}

/** Lines of `KEY NUMBER`. */
export function parseKeyed(text: string): Map<string, number> {
  const values = new Map<string, number>();
  for (const line of text.split('\n')) {
    const space = line.indexOf(' ');
    if (space > 0) values.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return values;
}
