/**
 * The vocabulary in which settings are declared: a field is a kind of value with a default and one line of help; a
 * section is a group of fields. Everything else (file keys, CAIRN_ variables, the commented default file, errors) is
 * derived from the declaration in settings.ts.
 */

/** Checks an unsafe value and returns the setting; throws an Error whose message completes "KEY: ". */
type Check<T> = (unsafe: unknown) => T;

export interface Field<T> {
  readonly type: 'field';
  readonly help: string;
  readonly fallback: T;
  readonly check: Check<T>;
  /** Reads the text of a flag or an environment variable. */
  readonly fromText: (text: string) => unknown;
}

// biome-ignore lint/suspicious/noExplicitAny: a field of any value, as a constraint only
export type AnyField = Field<any>;

export interface Section<F extends Fields = Fields> {
  readonly type: 'section';
  readonly help: string;
  readonly fields: F;
}

/** Sections of one shape under names of the user's choice, as `[runtimes.NAME]`. */
export interface NamedSections<F extends Fields = Fields> {
  readonly type: 'named';
  readonly help: string;
  readonly fields: F;
  /** The names that exist without being written. */
  readonly fallback: Readonly<Record<string, { readonly [K in keyof F]?: unknown }>>;
}

export type Node = AnyField | Section | NamedSections;
export interface Fields {
  readonly [key: string]: Node;
}

/** The settings that a declaration describes. */
export type Settings<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends Field<infer T>
    ? T
    : F[K] extends Section<infer G>
      ? Settings<G>
      : F[K] extends NamedSections<infer G>
        ? Readonly<Record<string, Settings<G>>>
        : never;
};

export function section<F extends Fields>(help: string, fields: F): Section<F> {
  return { type: 'section', help, fields };
}

export function named<F extends Fields>(
  help: string,
  fields: F,
  fallback: NamedSections<F>['fallback'],
): NamedSections<F> {
  return { type: 'named', help, fields, fallback };
}

export function text(help: string, fallback: string): Field<string> {
  return { type: 'field', help, fallback, check: asString, fromText: (value) => value };
}

/** An absolute path; empty only where `fallback` is. */
export function path(help: string, fallback: string): Field<string> {
  return {
    type: 'field',
    help,
    fallback,
    fromText: (value) => value,
    check: (unsafe) => {
      const value = asString(unsafe);
      if (value === '' && fallback === '') return value;
      if (!value.startsWith('/') || value.includes('\0')) throw new Error(`${shown(value)} is not an absolute path`);
      return value.length > 1 ? value.replace(/\/+$/, '') : value;
    },
  };
}

/** A program: an absolute path, or a name that is looked up on PATH. */
export function program(help: string, fallback: string): Field<string> {
  return {
    ...text(help, fallback),
    check: (unsafe) => {
      const value = asString(unsafe);
      const isName = value !== '' && !value.includes('/');
      if (!isName && !value.startsWith('/')) {
        throw new Error(`${shown(value)} is neither an absolute path nor the name of a program`);
      }
      return value;
    },
  };
}

export function paths(help: string, fallback: readonly string[]): Field<readonly string[]> {
  const one = path('', '/');
  return {
    type: 'field',
    help,
    fallback,
    fromText: (value) => value.split(':').filter(Boolean),
    check: (unsafe) => asList(unsafe).map((item) => one.check(item)),
  };
}

export function texts(help: string, fallback: readonly string[]): Field<readonly string[]> {
  return {
    type: 'field',
    help,
    fallback,
    fromText: (value) => value.split(',').filter(Boolean),
    check: (unsafe) => asList(unsafe).map(asString),
  };
}

export function choice<const C extends string>(help: string, choices: readonly C[], fallback: C): Field<C> {
  return {
    type: 'field',
    help: `${help} One of ${choices.join(', ')}.`,
    fallback,
    fromText: (value) => value,
    check: (unsafe) => {
      const found = choices.find((candidate) => candidate === unsafe);
      if (found === undefined) throw new Error(`${shown(unsafe)} is none of ${choices.join(', ')}`);
      return found;
    },
  };
}

export function flag(help: string, fallback: boolean): Field<boolean> {
  return {
    type: 'field',
    help,
    fallback,
    fromText: (value) => (value === 'true' || value === 'false' ? value === 'true' : value),
    check: (unsafe) => {
      if (typeof unsafe !== 'boolean') throw new Error(`${shown(unsafe)} is neither true nor false`);
      return unsafe;
    },
  };
}

export function integer(help: string, min: number, max: number, fallback: number): Field<number> {
  return {
    type: 'field',
    help,
    fallback,
    fromText: (value) => (/^-?\d+$/.test(value) ? Number(value) : value),
    check: (unsafe) => {
      if (typeof unsafe !== 'number' || !Number.isInteger(unsafe) || unsafe < min || unsafe > max) {
        throw new Error(`${shown(unsafe)} is not a whole number from ${min} to ${max}`);
      }
      return unsafe;
    },
  };
}

/** Text of a form, such as HOST:PORT. `form` completes "is not ". */
export function matching(help: string, pattern: RegExp, form: string, fallback: string): Field<string> {
  return {
    type: 'field',
    help,
    fallback,
    fromText: (value) => value,
    check: (unsafe) => {
      const value = asString(unsafe);
      if (value !== fallback && !pattern.test(value)) throw new Error(`${shown(value)} is not ${form}`);
      return value;
    },
  };
}

function asString(unsafe: unknown): string {
  if (typeof unsafe !== 'string') throw new Error(`${shown(unsafe)} is not text in quotes`);
  return unsafe;
}

function asList(unsafe: unknown): unknown[] {
  if (!Array.isArray(unsafe)) throw new Error(`${shown(unsafe)} is not a list`);
  return unsafe;
}

function shown(unsafe: unknown): string {
  const json = JSON.stringify(unsafe) ?? String(unsafe);
  return json.length > 80 ? `${json.slice(0, 77)}...` : json;
}
