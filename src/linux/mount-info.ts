/** The mount table of this process (proc(5), "/proc/PID/mountinfo"). */
import { readFile, realpath } from 'node:fs/promises';
import { resolve } from 'node:path';

export interface MountEntry {
  readonly id: number;
  readonly parentId: number;
  /** The directory of the file system that is mounted here. */
  readonly root: string;
  readonly target: string;
  /** Options of this mount (`ro`, `nosuid`). */
  readonly options: readonly string[];
  /** `shared:1`, `master:2`, `propagate_from:3`, `unbindable`; none: private. */
  readonly propagation: readonly string[];
  readonly type: string;
  readonly source: string;
  /** Options of the file system (`lowerdir=...`). */
  readonly superOptions: readonly string[];
}

/** Every mount, in the order of the table: of two on one target the later is on top. */
export async function mountInfo(): Promise<MountEntry[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const separator = fields.indexOf('-', 6);
    const [id, parentId, , root, target, options] = fields;
    const [type, source, superOptions] = fields.slice(separator + 1);
    if (separator === -1 || root === undefined || target === undefined || type === undefined) continue;
    entries.push({
      id: Number(id),
      parentId: Number(parentId),
      root: unescapeField(root),
      target: unescapeField(target),
      options: (options ?? '').split(','),
      propagation: fields.slice(6, separator),
      type,
      source: unescapeField(source ?? ''),
      superOptions: unescapeField(superOptions ?? '').split(','),
    });
  }
  return entries;
}

/** True when something is mounted at exactly `path`. */
export async function isMountPoint(path: string): Promise<boolean> {
  // The table holds resolved paths; the last element itself may be one that can't be resolved any more.
  const resolved = await realpath(path).catch(() => resolve(path));
  return (await mountInfo()).some((entry) => entry.target === resolved);
}

/** The kernel writes space, tab, newline, backslash (and `#`) as three octal digits, byte by byte. */
function unescapeField(field: string): string {
  if (!field.includes('\\')) return field;
  const bytes: number[] = [];
  const raw = Buffer.from(field);
  for (let at = 0; at < raw.length; at++) {
    const octal = raw[at] === BACKSLASH ? /^[0-7]{3}$/.exec(raw.subarray(at + 1, at + 4).toString('latin1')) : null;
    bytes.push(octal ? Number.parseInt(octal[0], 8) : (raw[at] ?? 0));
    if (octal) at += 3;
  }
  return Buffer.from(bytes).toString();
}

const BACKSLASH = 0x5c;
