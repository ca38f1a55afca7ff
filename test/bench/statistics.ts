/** Samples and what is said of them. */

export function quantile(samples: readonly number[], q: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * q;
  const below = sorted[Math.floor(position)] ?? Number.NaN;
  const above = sorted[Math.ceil(position)] ?? Number.NaN;
  return below + (above - below) * (position - Math.floor(position));
}

export interface Line {
  readonly work: string;
  /** Milliseconds. */
  readonly cairn: readonly number[];
  readonly containerd: readonly number[];
}

export interface Summary {
  readonly work: string;
  readonly samples: number;
  readonly cairnMedianMs: number;
  readonly cairnP95Ms: number;
  readonly containerdMedianMs: number;
  readonly containerdP95Ms: number;
  /** Cairn's median over containerd's: below 1 is faster. */
  readonly ratio: number;
}

export function summarise({ work, cairn, containerd }: Line): Summary {
  const round = (value: number) => Number(value.toFixed(value < 100 ? 1 : 0));
  const [a, b] = [quantile(cairn, 0.5), quantile(containerd, 0.5)];
  return {
    work,
    samples: cairn.length,
    cairnMedianMs: round(a),
    cairnP95Ms: round(quantile(cairn, 0.95)),
    containerdMedianMs: round(b),
    containerdP95Ms: round(quantile(containerd, 0.95)),
    ratio: Number((a / b).toFixed(2)),
  };
}

export function renderTable(rows: readonly Summary[]): string {
  const header = ['work', 'n', 'Cairn ms', 'p95', 'containerd ms', 'p95', 'ratio'];
  const cells = rows.map((row) => Object.values(row).map(String));
  const widths = header.map((name, column) => Math.max(name.length, ...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) => {
    const padded = row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)));
    return `| ${padded.join(' | ')} |`;
  };
  const rule = `|${widths.map((width, i) => (i === 0 ? `${'-'.repeat(width + 2)}|` : `${'-'.repeat(width + 1)}:|`)).join('')}`;
  return [line(header), rule, ...cells.map(line)].join('\n');
}
