/** TOML with places: the values of a file, and the line on which each key stands. */
import { readFile } from 'node:fs/promises';
import { type AST, getStaticTOMLValue, ParseError, parseTOML } from 'toml-eslint-parser';
import { CairnError, messageOf } from '../base/errors.ts';

const FILE_BYTES_MAX = 1 << 20;

export interface TomlFile {
  readonly path: string;
  readonly values: Readonly<Record<string, unknown>>;
  /** Line numbers by dotted key; a table has the line of its header. */
  readonly lines: ReadonlyMap<string, number>;
}

/** Reads and parses a file. InvalidArgument with file and line when it is no TOML, NotFound when it does not exist. */
export async function readToml(path: string): Promise<TomlFile> {
  let source: string;
  try {
    source = await readFile(path, 'utf8');
  } catch (error) {
    throw new CairnError('NotFound', `cannot read the configuration: ${messageOf(error)}`, { cause: error });
  }
  if (source.length > FILE_BYTES_MAX) {
    throw new CairnError('InvalidArgument', `${path}: larger than ${FILE_BYTES_MAX} bytes`);
  }
  return parseToml(source, path);
}

export function parseToml(source: string, path: string): TomlFile {
  try {
    const program = parseTOML(source);
    const lines = new Map<string, number>();
    for (const node of program.body[0].body) recordLines(node, [], lines);
    return { path, values: getStaticTOMLValue(program) as Record<string, unknown>, lines };
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    throw new CairnError('InvalidArgument', `${path}:${error.lineNumber}: ${error.message}`, { cause: error });
  }
}

function recordLines(
  node: AST.TOMLTable | AST.TOMLKeyValue,
  prefix: readonly string[],
  lines: Map<string, number>,
): void {
  const key = node.key.keys.map((part) => (part.type === 'TOMLBare' ? part.name : part.value));
  if (node.type === 'TOMLTable') {
    note(key, node.loc.start.line, lines);
    for (const child of node.body) recordLines(child, key, lines);
    return;
  }
  const whole = [...prefix, ...key];
  note(whole, node.loc.start.line, lines);
  if (node.value.type === 'TOMLInlineTable') {
    for (const child of node.value.body) recordLines(child, whole, lines);
  }
}

function note(key: readonly string[], line: number, lines: Map<string, number>): void {
  for (let length = 1; length <= key.length; length++) {
    const dotted = key.slice(0, length).join('.');
    if (!lines.has(dotted)) lines.set(dotted, line);
  }
}
