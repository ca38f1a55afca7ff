/**
 * One settings object out of layers: defaults, then the file, its drop-ins, CAIRN_ variables and flags, each above the
 * one before. Every problem of every layer is reported at once, with its place.
 */
import { CairnError, messageOf } from '../base/errors.ts';
import type { Fields, Node } from './schema.ts';
import { type Config, declaration } from './settings.ts';
import type { TomlFile } from './toml.ts';

/** A value at its place: `text` tells where it was written (`/etc/cairn/config.toml:3`, `CAIRN_ROOT`, `--root`). */
interface Placed {
  readonly value: unknown;
  readonly place: string;
}

type Values = Map<string, Placed>;

const SEPARATOR = '.';
/** As Kubernetes writes a RuntimeClass handler. */
const SECTION_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;

/** `metricsAddress` as written in files and, in capitals, in variables: `metrics_address`. */
export function fileKey(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

export interface LayerSources {
  /** The main file first, then drop-ins in order. */
  readonly files: readonly TomlFile[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** By dotted file key, as `metrics_address`; `place` is the flag's name. */
  readonly flags: ReadonlyMap<string, { readonly text: string; readonly place: string }>;
}

/** Merges and checks. Throws InvalidArgument whose message holds a line for each problem. */
export function mergeLayers(sources: LayerSources): Config {
  const problems: string[] = [];
  const values: Values = new Map();
  const names = new Map<string, Set<string>>();
  for (const file of sources.files) collectFile(file, values, names, problems);
  collectTexts(sources, values, names);
  const config = build(declaration, '', values, names, problems);
  if (problems.length > 0) throw new CairnError('InvalidArgument', problems.join('\n'), { step: 'config' });
  return deepFreeze(config) as Config;
}

function collectFile(file: TomlFile, values: Values, names: Map<string, Set<string>>, problems: string[]): void {
  const walk = (fields: Fields, table: Readonly<Record<string, unknown>>, prefix: string) => {
    for (const [key, value] of Object.entries(table)) {
      const dotted = join(prefix, key);
      const place = `${file.path}:${file.lines.get(dotted) ?? 1}`;
      const node = findNode(fields, key);
      if (!node) {
        problems.push(
          `${place}: unknown key ${JSON.stringify(dotted)}; allowed here: ${Object.keys(fields).map(fileKey).join(', ')}`,
        );
      } else if (node.type === 'field') {
        values.set(dotted, { value, place });
      } else if (!isTable(value)) {
        problems.push(`${place}: ${dotted} is a section, write [${dotted}]`);
      } else if (node.type === 'section') {
        walk(node.fields, value, dotted);
      } else {
        for (const [name, inner] of Object.entries(value)) {
          const innerKey = join(dotted, name);
          if (!SECTION_NAME.test(name)) {
            problems.push(
              `${place}: ${JSON.stringify(name)} is no name for a section of ${dotted}; allowed: ${SECTION_NAME.source}`,
            );
            continue;
          }
          addName(names, dotted, name);
          if (isTable(inner)) walk(node.fields, inner, innerKey);
          else
            problems.push(
              `${file.path}:${file.lines.get(innerKey) ?? 1}: ${innerKey} is a section, write [${innerKey}]`,
            );
        }
      }
    }
  };
  walk(declaration, file.values, '');
}

function collectTexts(sources: LayerSources, values: Values, names: Map<string, Set<string>>): void {
  const visit = (fields: Fields, prefix: string) => {
    for (const [key, node] of Object.entries(fields)) {
      const dotted = join(prefix, fileKey(key));
      if (node.type === 'section') {
        visit(node.fields, dotted);
      } else if (node.type === 'named') {
        for (const name of Object.keys(node.fallback)) addName(names, dotted, name);
        for (const name of names.get(dotted) ?? []) visit(node.fields, join(dotted, name));
      } else {
        const variable = `CAIRN_${dotted.replaceAll(/[.-]/g, '_').toUpperCase()}`;
        const text = sources.environment[variable];
        if (text !== undefined) values.set(dotted, { value: node.fromText(text), place: variable });
        const flag = sources.flags.get(dotted);
        if (flag) values.set(dotted, { value: node.fromText(flag.text), place: flag.place });
      }
    }
  };
  visit(declaration, '');
}

function build(
  fields: Fields,
  prefix: string,
  values: Values,
  names: Map<string, Set<string>>,
  problems: string[],
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [key, node] of Object.entries(fields)) {
    const dotted = join(prefix, fileKey(key));
    if (node.type === 'section') {
      result[key] = build(node.fields, dotted, values, names, problems);
    } else if (node.type === 'named') {
      const entries = [...(names.get(dotted) ?? [])].map((name) => [
        name,
        build(node.fields, join(dotted, name), values, names, problems),
      ]);
      result[key] = Object.fromEntries(entries);
    } else {
      result[key] = checkField(node, dotted, values.get(dotted), problems);
    }
  }
  return result;
}

function checkField(
  field: Node & { type: 'field' },
  dotted: string,
  placed: Placed | undefined,
  problems: string[],
): unknown {
  if (!placed) return field.fallback;
  try {
    return field.check(placed.value);
  } catch (error) {
    problems.push(`${placed.place}: ${dotted}: ${messageOf(error)}`);
    return field.fallback;
  }
}

function findNode(fields: Fields, unsafeKey: string): Node | undefined {
  const key = Object.keys(fields).find((candidate) => fileKey(candidate) === unsafeKey);
  return key === undefined ? undefined : fields[key];
}

function addName(names: Map<string, Set<string>>, dotted: string, name: string): void {
  const known = names.get(dotted) ?? new Set();
  names.set(dotted, known.add(name));
}

function join(prefix: string, key: string): string {
  return prefix === '' ? key : `${prefix}${SEPARATOR}${key}`;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

function deepFreeze(value: unknown): unknown {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) deepFreeze(inner);
    Object.freeze(value);
  }
  return value;
}
