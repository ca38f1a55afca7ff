/** How values look to people. */
import type Long from 'long';

export interface Column<T> {
  readonly title: string;
  readonly value: (row: T) => string;
}

/** Left-aligned columns, two spaces apart; the last one is not padded. */
export function renderTable<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const cells = [
    columns.map((column) => column.title),
    ...rows.map((row) => columns.map((column) => column.value(row))),
  ];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => line[index]?.length ?? 0)));
  return cells
    .map((line) =>
      line
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** 1536 -> `1.5kB`: decimal units, as `docker images` has them. */
export function humanBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : Number(value.toPrecision(3))}${units[unit]}`;
}

/** `3 minutes ago`; future times and zero are `-`. */
export function humanAge(timeNs: Long, nowMs = Date.now()): string {
  const seconds = Math.floor((nowMs - milliseconds(timeNs)) / 1000);
  if (timeNs.isZero() || seconds < 0) return '-';
  const steps: readonly (readonly [number, string])[] = [
    [60, 'second'],
    [60, 'minute'],
    [24, 'hour'],
    [7, 'day'],
    [4.35, 'week'],
    [12, 'month'],
    [Number.POSITIVE_INFINITY, 'year'],
  ];
  let value = seconds;
  for (const [size, name] of steps) {
    if (value < size) return `${Math.floor(value)} ${name}${Math.floor(value) === 1 ? '' : 's'} ago`;
    value /= size;
  }
  return '-';
}

/** Nanoseconds since 1970 as milliseconds. */
export function milliseconds(timeNs: Long): number {
  return timeNs.divide(1_000_000).toNumber();
}

export function isoTime(timeNs: Long): string {
  return timeNs.isZero() ? '' : new Date(milliseconds(timeNs)).toISOString();
}

/** The 12 digits by which people call a container, pod or image. */
export function shortId(id: string): string {
  return id.replace(/^sha\d+:/, '').slice(0, 12);
}

/** Splits `docker.io/library/alpine:3.20` into name and tag. */
export function splitTag(repoTag: string): { readonly name: string; readonly tag: string } {
  const colon = repoTag.lastIndexOf(':');
  return colon > repoTag.lastIndexOf('/')
    ? { name: repoTag.slice(0, colon), tag: repoTag.slice(colon + 1) }
    : { name: repoTag, tag: '<none>' };
}

/** JSON for scripts: int64 as numbers where they fit, bytes as text. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'bigint' ? Number(inner) : inner), 2);
}
