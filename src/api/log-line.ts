/** A line of a container log: `2026-01-02T03:04:05.123456789+00:00 stdout F text` (Kubernetes' CRI log format). */
export interface LogLine {
  readonly stream: 'stdout' | 'stderr';
  /** 0 when the line has none. */
  readonly timeNs: bigint;
  readonly text: Buffer;
  /** The line goes on in the next one of this stream. */
  readonly partial: boolean;
}

const SPACE = 0x20;
const TAG_PARTIAL = 'P';

/** A line that does not have the form was written by something else; it is shown as it is. */
export function parseLogLine(line: Buffer): LogLine {
  const afterTime = line.indexOf(SPACE);
  const afterStream = afterTime < 0 ? -1 : line.indexOf(SPACE, afterTime + 1);
  if (afterStream < 0) return raw(line);
  const timeNs = parseTimeNs(line.toString('latin1', 0, afterTime));
  const stream = line.toString('latin1', afterTime + 1, afterStream);
  if (timeNs === undefined || (stream !== 'stdout' && stream !== 'stderr')) return raw(line);
  const found = line.indexOf(SPACE, afterStream + 1);
  const afterTags = found < 0 ? line.length : found;
  // Tags are separated by colons; the first says whether the line is whole.
  const [tag] = line.toString('latin1', afterStream + 1, afterTags).split(':');
  return { stream, timeNs, text: line.subarray(afterTags + 1), partial: tag === TAG_PARTIAL };
}

/** Whether the line that begins so goes on in the next one. */
export function isPartial(head: Buffer): boolean {
  return parseLogLine(head).partial;
}

function raw(line: Buffer): LogLine {
  return { stream: 'stdout', timeNs: 0n, text: line, partial: false };
}

/** RFC 3339 with up to nine digits of a second's fraction, exactly; undefined for anything else. */
export function parseTimeNs(text: string): bigint | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  if (!match) return undefined;
  const [, seconds, fraction = '', zone] = match;
  const milliseconds = Date.parse(`${seconds}${zone}`);
  return Number.isNaN(milliseconds) ? undefined : BigInt(milliseconds) * 1_000_000n + BigInt(fraction.padEnd(9, '0'));
}
