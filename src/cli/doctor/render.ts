/** Checks as people read them, aligned: what was found, why it matters, and what to do where something is not ok. */
import type { Check, CheckStatus } from './check.ts';

const COLOURS: Readonly<Record<CheckStatus, number>> = { ok: 32, warning: 33, failed: 31 };
const STATUS_WIDTH = 'warning'.length;
const WIDTH_MIN = 40;

export interface RenderOptions {
  readonly colours: boolean;
  /** Where lines are broken. */
  readonly width: number;
}

export function renderChecks(checks: readonly Check[], options: RenderOptions): string {
  const idWidth = Math.max(0, ...checks.map(({ id }) => id.length));
  const indent = STATUS_WIDTH + 2 + idWidth + 2;
  const lines = checks.flatMap(({ id, status, summary, why, fix }) => {
    const head = `${paint(status, options.colours)}${' '.repeat(STATUS_WIDTH - status.length)}  ${id.padEnd(idWidth)}  `;
    const [first = '', ...more] = wrap(summary, options.width - indent);
    const body = [...more, ...labelled('why', why), ...(status === 'ok' ? [] : labelled('fix', fix))];
    return [head + first, ...body.map((line) => ' '.repeat(indent) + line)];

    function labelled(label: string, text: string): string[] {
      const hanging = ' '.repeat(label.length + 2);
      return wrap(text, options.width - indent - hanging.length).map(
        (line, index) => (index === 0 ? `${label}: ` : hanging) + line,
      );
    }
  });
  return `${lines.join('\n')}\n\n${summarise(checks)}\n`;
}

function summarise(checks: readonly Check[]): string {
  const count = (status: CheckStatus) => checks.filter((check) => check.status === status).length;
  const [warnings, failures] = [count('warning'), count('failed')];
  const verdict = failures > 0 ? 'this host is not ready for Cairn' : 'this host can run Cairn';
  return `${checks.length} checks: ${count('ok')} ok, ${plural(warnings, 'warning')}, ${failures} failed: ${verdict}`;
}

function plural(number: number, word: string): string {
  return `${number} ${word}${number === 1 ? '' : 's'}`;
}

function paint(status: CheckStatus, colours: boolean): string {
  return colours ? `\u001b[${COLOURS[status]}m${status}\u001b[0m` : status;
}

/** Breaks text at spaces; a longer word stays whole, so that it can be copied. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/)) {
    if (line !== '' && line.length + 1 + word.length > Math.max(width, WIDTH_MIN)) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
