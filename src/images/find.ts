/** What a text means among the images there are: a name, a name with digest, an ID, or the beginning of one. */
import { CairnError, isCairnError } from '../base/errors.ts';
import { parseReference, type Reference } from '../registry/index.ts';

/** Shorter than this, a text is a name only. */
const ID_PREFIX_LENGTH_MIN = 4;
const ID_PATTERN = /^(?:(sha256|sha512):)?([0-9a-f]{4,128})$/;

export interface NameIndex {
  /** Names as in `repoTags` and `repoDigests`, to image IDs. */
  readonly names: ReadonlyMap<string, string>;
  readonly ids: Iterable<string>;
}

export interface Found {
  readonly id: string;
  /** The name that was meant; undefined when the ID was. */
  readonly name: string | undefined;
}

/**
 * Docker's order: a whole ID, then a name, then the beginning of an ID (with or without `sha256:`). InvalidArgument when
 * the text is neither ID nor reference, or begins several IDs.
 */
export function findImage(index: NameIndex, unsafeText: string): Found | undefined {
  const ids = idsBeginningWith(index.ids, unsafeText);
  const whole = ids?.find((id) => id === unsafeText || id.endsWith(`:${unsafeText}`));
  if (whole !== undefined) return { id: whole, name: undefined };
  const name = tryName(unsafeText, ids !== undefined);
  const id = name === undefined ? undefined : index.names.get(name);
  if (name !== undefined && id !== undefined) return { id, name };
  const [only, ...more] = ids ?? [];
  if (only === undefined) return undefined;
  if (more.length === 0) return { id: only, name: undefined };
  throw new CairnError(
    'InvalidArgument',
    `${JSON.stringify(unsafeText)} begins the IDs of ${more.length + 1} images: ${[only, ...more].slice(0, 5).join(', ')}`,
    { step: 'images.find' },
  );
}

/** The name that a pull of `reference` gives an image: with a digest its tag counts for nothing. */
export function nameOf(reference: Reference): string {
  return reference.digest === undefined
    ? `${reference.name}:${reference.tag ?? 'latest'}`
    : `${reference.name}@${reference.digest}`;
}

/** Undefined when the text can't be (the beginning of) an ID. */
function idsBeginningWith(ids: Iterable<string>, text: string): string[] | undefined {
  const [, algorithm, hex] = ID_PATTERN.exec(text) ?? [];
  if (hex === undefined || hex.length < ID_PREFIX_LENGTH_MIN) return undefined;
  return Array.from(ids).filter((id) => {
    const colon = id.indexOf(':');
    return (algorithm === undefined || id.startsWith(`${algorithm}:`)) && id.startsWith(hex, colon + 1);
  });
}

/** `mayFail`: the text is good as an ID, so it need not be a name. */
function tryName(text: string, mayFail: boolean): string | undefined {
  try {
    return nameOf(parseReference(text));
  } catch (error) {
    if (mayFail && isCairnError(error, 'InvalidArgument')) return undefined;
    throw error;
  }
}
