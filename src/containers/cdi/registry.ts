/**
 * CDI devices of this host: looked up by their qualified names (`vendor.com/class=name`) in directories of spec files.
 *
 * A file in a later directory takes the place of what an earlier one says of the same device; two files in one directory
 * that name the same device make it ambiguous. The directories are read when a container asks for a device, a file only
 * when it has changed.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, errnoOf, messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { type CdiEdits, type CdiSpec, isDeviceName, isKind, parseCdiSpec } from './spec-file.ts';

const STEP = 'container.cdi';
const FILE_BYTES_MAX = 4 << 20;
const FILES_MAX = 1024;

export interface CdiRegistry {
  /**
   * What these devices take, in order, the edits of a spec before those of its first device. InvalidArgument naming the
   * device that is unknown or ambiguous; FailedPrecondition when it needs what Cairn can't give.
   */
  resolve(names: readonly string[]): Promise<CdiEdits[]>;
}

interface Found {
  readonly file: string;
  readonly spec: CdiSpec;
}

interface Known {
  readonly stamp: string;
  readonly spec: CdiSpec | undefined;
  readonly problem: string;
}

export function createCdiRegistry(options: {
  readonly directories: readonly string[];
  readonly log: Logger;
}): CdiRegistry {
  const { directories, log } = options;
  const known = new Map<string, Known>();

  async function read(file: string): Promise<Known> {
    const { mtimeMs, size, ino } = await stat(file);
    const stamp = `${mtimeMs} ${size} ${ino}`;
    const before = known.get(file);
    if (before?.stamp === stamp) return before;
    let now: Known;
    try {
      if (size > FILE_BYTES_MAX) throw new Error(`has more than ${FILE_BYTES_MAX} bytes`);
      const text = await readFile(file, 'utf8');
      now = { stamp, spec: parseCdiSpec(text, file.endsWith('.json') ? 'json' : 'yaml'), problem: '' };
    } catch (error) {
      now = { stamp, spec: undefined, problem: `${file}: ${messageOf(error)}` };
      log.warn({ file, reason: messageOf(error) }, 'a CDI spec is left out: its devices can not be had');
    }
    known.set(file, now);
    return now;
  }

  /** Devices by qualified name, the problem in place of one that is ambiguous, and what could not be read. */
  async function scan() {
    const devices = new Map<string, Found | string>();
    const problems: string[] = [];
    const seen = new Set<string>();
    for (const directory of directories) {
      const here = new Map<string, Found | string>();
      for (const file of await specFiles(directory)) {
        seen.add(file);
        const { spec, problem } = await read(file).catch(
          (error: unknown): Known => ({ stamp: '', spec: undefined, problem: `${file}: ${messageOf(error)}` }),
        );
        if (spec === undefined) {
          problems.push(problem);
          continue;
        }
        for (const name of spec.devices.keys()) {
          const qualified = `${spec.kind}=${name}`;
          const other = here.get(qualified);
          const both = typeof other === 'object' ? `both ${other.file} and ${file} define it` : other;
          here.set(qualified, both ?? { file, spec });
        }
      }
      for (const [name, found] of here) devices.set(name, found);
    }
    for (const file of known.keys()) if (!seen.has(file)) known.delete(file);
    return { devices, problems };
  }

  return {
    async resolve(names) {
      if (names.length === 0) return [];
      names.forEach(checkName);
      const { devices, problems } = await scan();
      const edits: CdiEdits[] = [];
      const begun = new Set<CdiSpec>();
      for (const name of names) {
        const found = devices.get(name);
        if (found === undefined || typeof found === 'string') throw unresolvable(name, found, directories, problems);
        const { file, spec } = found;
        if (!begun.has(spec)) edits.push(spec.edits);
        begun.add(spec);
        const own = spec.devices.get(name.slice(name.indexOf('=') + 1));
        if (own !== undefined) edits.push(own);
        const [refused] = [...spec.edits.refused, ...(own?.refused ?? [])];
        if (refused === undefined) continue;
        const message = `CDI device ${name} (${file}) wants ${refused}, which Cairn can't give`;
        throw new CairnError('FailedPrecondition', message, { step: STEP });
      }
      return edits;
    },
  };
}

/** Whether `text` is of the form `vendor.com/class=name`. */
export function isQualifiedName(text: string): boolean {
  const equals = text.indexOf('=');
  return equals > 0 && isKind(text.slice(0, equals)) && isDeviceName(text.slice(equals + 1));
}

function checkName(name: string): void {
  if (isQualifiedName(name)) return;
  const message = `CDI device ${JSON.stringify(name)}: the name is not of the form vendor.com/class=name`;
  throw new CairnError('InvalidArgument', message, { step: STEP });
}

function unresolvable(
  name: string,
  why: string | undefined,
  directories: readonly string[],
  problems: readonly string[],
): CairnError {
  const unread = problems.length === 0 ? '' : `; could not be read: ${problems.join('; ')}`;
  const reason = why ?? `no spec file in ${directories.join(', ')} defines it${unread}`;
  return new CairnError('InvalidArgument', `CDI device ${name}: ${reason}`, { step: STEP });
}

async function specFiles(directory: string): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
  const specs = names.filter((name) => /\.(json|ya?ml)$/.test(name)).toSorted();
  if (specs.length > FILES_MAX) {
    throw new CairnError('FailedPrecondition', `${directory} holds more than ${FILES_MAX} CDI specs`, { step: STEP });
  }
  return specs.map((name) => join(directory, name));
}
