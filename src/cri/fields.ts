/**
 * Checking one field of a request. Every refusal names the field as the proto and crictl's JSON write it
 * (`config.linux.security_context.run_as_user`), so that the caller knows what to change.
 */
import type Long from 'long';
import { CairnError } from '../base/errors.ts';

const STEP = 'cri.request';

/** The request is wrong: it would be on any host. */
export function invalid(field: string, why: string): CairnError {
  return new CairnError('InvalidArgument', `${field}: ${why}`, { step: STEP });
}

/** The request is fine but asks for something that must not be ignored and that Cairn can't do. */
export function unsupported(field: string, why = 'Cairn does not support this yet'): CairnError {
  return new CairnError('Unimplemented', `${field}: ${why}`, { step: STEP });
}

export function required<T>(field: string, value: T | null | undefined): T {
  if (value === null || value === undefined || value === '') throw invalid(field, 'is required');
  return value;
}

/** The meaning of an enum's number; a number that the proto does not have is refused. */
export function oneOf<T>(field: string, value: number, meanings: Readonly<Record<number, T>>): T {
  const meaning = meanings[value];
  if (meaning === undefined) throw invalid(field, `${value} has no meaning here`);
  return meaning;
}

interface Range {
  readonly min: number;
  readonly max: number;
}

export function integer(field: string, value: Long | number, { min, max }: Range): number {
  // A Long beyond 2^53 becomes a neighbour of itself, which is out of every range that is used here.
  const number = Number(value);
  const allowed = max === Number.MAX_VALUE ? `at least ${min}` : `between ${min} and ${max}`;
  if (number < min || number > max) throw invalid(field, `${value} is not ${allowed}`);
  return number;
}

/**
 * A limit in bytes. Callers write "no limit" as -1 or as some number near 2^63, which JSON numbers can't carry to the
 * runtime unharmed; beyond 2^53 (8 PiB) any limit is none, so it is cut there.
 */
export function byteLimit(field: string, value: Long, min: number): number {
  if (!value.unsigned && value.lt(min)) throw invalid(field, `${value} is less than ${min}`);
  return value.gt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : value.toNumber();
}

/** User and group IDs: 2^32-1 means "no change" to the kernel. */
const ID_MAX = 2 ** 32 - 2;

export function userOrGroupId(field: string, value: Long): number {
  return integer(field, value, { min: 0, max: ID_MAX });
}

export function absolutePath(field: string, path: string): string {
  if (!path.startsWith('/')) throw invalid(field, `${JSON.stringify(path)} is not an absolute path`);
  return noNul(field, path);
}

/** A NUL would end the text early for the kernel, and mean something else than was checked. */
export function noNul(field: string, text: string): string {
  if (text.includes('\0')) throw invalid(field, 'has a NUL character');
  return text;
}
