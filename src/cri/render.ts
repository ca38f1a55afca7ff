/** Small pieces of answers. */
import Long from 'long';

export function long(value: bigint): Long {
  return Long.fromBigInt(value);
}

export function now(): Long {
  return Long.fromNumber(Date.now()).multiply(1_000_000);
}

/** The `info` of a verbose answer: one JSON text, which crictl shows. Times are kept exact as text. */
export function info(value: object): { info: string } {
  return { info: json(value) };
}

export function json(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? item.toString() : item)) ?? 'null';
}
