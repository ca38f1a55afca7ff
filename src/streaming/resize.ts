/** The resize stream: JSON objects `{"Width":80,"Height":24}` one after another, with or without space between them. */
import type { TerminalSize } from '../task/index.ts';

const OBJECT_BYTES_MAX = 1024;
const CELLS_MAX = 0xffff;

export class ResizeReader {
  #text = '';

  /** The last size that `chunk` completes; what is none is skipped. */
  read(chunk: Buffer): TerminalSize | undefined {
    this.#text += chunk.toString('latin1');
    let size: TerminalSize | undefined;
    for (let end = this.#text.indexOf('}'); end >= 0; end = this.#text.indexOf('}')) {
      size = parseSize(this.#text.slice(0, end + 1)) ?? size;
      this.#text = this.#text.slice(end + 1);
    }
    if (this.#text.length > OBJECT_BYTES_MAX) this.#text = '';
    return size;
  }
}

function parseSize(json: string): TerminalSize | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  // Go reads keys without regard to case.
  const fields = new Map(Object.entries(value).map(([name, field]) => [name.toLowerCase(), field as unknown]));
  const [columns, rows] = [fields.get('width'), fields.get('height')];
  return isCells(columns) && isCells(rows) ? { rows, columns } : undefined;
}

function isCells(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value <= CELLS_MAX;
}
