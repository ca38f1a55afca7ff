/**
 * Manifests and indexes as typed values.
 *
 * The bytes come from outside: everything that the rest of Cairn uses is checked here, once. The `mediaType` inside a
 * manifest must agree with the one that it was delivered under; a manifest that says neither is told by its fields.
 */
import { digestOf, tryParseDigest } from '../base/digest.ts';
import { CairnError } from '../base/errors.ts';
import type { Descriptor, Index, Manifest, Platform } from './index.ts';
import { INDEX_TYPES, isSchema1, MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST, SCHEMA_1 } from './media-types.ts';

/** Overlay takes 500 lower layers; real images stay below 128. */
const LAYERS_MAX = 500;
const INDEX_ENTRIES_MAX = 10_000;

export function isIndexMediaType(mediaType: string): boolean {
  return INDEX_TYPES.includes(mediaType);
}

/** The manifest in `bytes`; `mediaType` is the descriptor's or the Content-Type. DataLoss naming digest and fault. */
export function parseManifest(bytes: Uint8Array, mediaType: string): Manifest {
  return named(bytes, () => {
    const { fields, mediaType: actual } = readDocument(bytes, mediaType, MANIFEST_TYPES, 'image manifest');
    return {
      mediaType: actual,
      config: descriptor(fields['config'], 'config'),
      layers: descriptors(fields, 'layers', LAYERS_MAX),
      annotations: stringMap(fields['annotations'], 'annotations'),
    };
  });
}

/** The index in `bytes`. As `parseManifest`. */
export function parseIndex(bytes: Uint8Array, mediaType: string): Index {
  return named(bytes, () => {
    const { fields, mediaType: actual } = readDocument(bytes, mediaType, INDEX_TYPES, 'image index');
    return {
      mediaType: actual,
      manifests: descriptors(fields, 'manifests', INDEX_ENTRIES_MAX),
      annotations: stringMap(fields['annotations'], 'annotations'),
    };
  });
}

/** What is wrong, before it is known in which document. */
class Malformed extends Error {}

function named<T>(bytes: Uint8Array, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new CairnError('DataLoss', `manifest ${digestOf(bytes)} is broken: ${error.message}`, {
      step: 'registry.parseManifest',
    });
  }
}

/** The media type of a manifest or index: as declared outside, else inside, else by its fields; undefined when unknown. */
export function detectMediaType(bytes: Uint8Array, declared: string): string | undefined {
  return isKnown(declared) ? declared : typeInside(asObject(readJson(bytes)) ?? {});
}

function isKnown(mediaType: string): boolean {
  return INDEX_TYPES.includes(mediaType) || MANIFEST_TYPES.includes(mediaType) || isSchema1(mediaType);
}

function typeInside(fields: Fields): string | undefined {
  const inside = fields['mediaType'];
  if (typeof inside === 'string') return isKnown(inside) ? inside : undefined;
  if (fields['schemaVersion'] === 1) return SCHEMA_1;
  if (Array.isArray(fields['manifests'])) return OCI_INDEX;
  return asObject(fields['config']) ? OCI_MANIFEST : undefined;
}

type Fields = Readonly<Record<string, unknown>>;

interface Document {
  readonly mediaType: string;
  readonly fields: Fields;
}

function readDocument(bytes: Uint8Array, declared: string, allowed: readonly string[], what: string): Document {
  const fields = asObject(readJson(bytes));
  if (!fields) throw new Malformed(`not a JSON object in UTF-8`);
  const mediaType = isKnown(declared) ? declared : (typeInside(fields) ?? declared);
  if (isSchema1(mediaType) || fields['schemaVersion'] === 1) throw schema1Refused(digestOf(bytes));
  if (!allowed.includes(mediaType)) {
    throw new Malformed(`media type ${JSON.stringify(mediaType)} is none of an ${what}`);
  }
  // Bytes that two readers can take for two images are an attack (image spec, manifest.md; CVE-2021-41190).
  const inside = fields['mediaType'];
  if (inside !== undefined && inside !== mediaType) {
    throw new Malformed(`served as ${mediaType}, but says ${JSON.stringify(inside)} inside`);
  }
  const foreign = MANIFEST_TYPES.includes(mediaType) ? ['manifests'] : ['layers', 'config'];
  for (const name of foreign) {
    if (fields[name] !== undefined) throw new Malformed(`${name}: does not belong in an ${what}`);
  }
  if (fields['schemaVersion'] !== 2) throw new Malformed('schemaVersion: is not 2');
  return { mediaType, fields };
}

/** What a Docker schema 1 manifest gets: it has no image configuration, so there is nothing to run. */
export function schema1Refused(digest: string): CairnError {
  return new CairnError(
    'FailedPrecondition',
    `manifest ${digest} has Docker's schema 1, which is not supported: push the image again with a current tool`,
    { step: 'registry.parseManifest' },
  );
}

function readJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

function descriptor(value: unknown, field: string): Descriptor {
  const fields = asObject(value);
  if (!fields) throw new Malformed(`${field}: not a descriptor`);
  const { mediaType, digest: unsafeDigest, size, platform, annotations, urls } = fields;
  if (typeof mediaType !== 'string' || mediaType === '') throw new Malformed(`${field}.mediaType: missing`);
  const digest = typeof unsafeDigest === 'string' ? tryParseDigest(unsafeDigest) : undefined;
  if (!digest) throw new Malformed(`${field}.digest: ${JSON.stringify(unsafeDigest)} is not a sha256 or sha512 digest`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new Malformed(`${field}.size: ${JSON.stringify(size)} is not a size`);
  }
  const checkedPlatform = parsePlatform(platform, `${field}.platform`);
  return {
    mediaType,
    digest,
    sizeBytes: size,
    ...(checkedPlatform && { platform: checkedPlatform }),
    ...(annotations != null && { annotations: stringMap(annotations, `${field}.annotations`) }),
    ...(urls != null && { urls: strings(urls, `${field}.urls`) }),
  };
}

function parsePlatform(value: unknown, field: string): Platform | undefined {
  if (value == null) return undefined;
  const fields = asObject(value);
  if (!fields) throw new Malformed(`${field}: not an object`);
  const { os, architecture, variant } = fields;
  if (typeof os !== 'string' || typeof architecture !== 'string')
    throw new Malformed(`${field}: os or architecture missing`);
  return { os, architecture, ...(typeof variant === 'string' && variant !== '' && { variant }) };
}

function descriptors(fields: Fields, name: string, max: number): Descriptor[] {
  const value = fields[name] ?? [];
  if (!Array.isArray(value)) throw new Malformed(`${name}: not a list`);
  if (value.length > max) throw new Malformed(`${name}: ${value.length} entries, at most ${max} are allowed`);
  return value.map((entry, at) => descriptor(entry, `${name}[${at}]`));
}

function strings(value: unknown, field: string): string[] {
  if (!Array.isArray(value) || !value.every((entry) => typeof entry === 'string'))
    throw new Malformed(`${field}: not strings`);
  return value;
}

function stringMap(value: unknown, field: string): Readonly<Record<string, string>> {
  if (value == null) return {};
  const fields = asObject(value);
  if (!fields) throw new Malformed(`${field}: not an object`);
  const result: [string, string][] = [];
  for (const [key, entry] of Object.entries(fields)) {
    if (typeof entry !== 'string') throw new Malformed(`${field}[${JSON.stringify(key)}]: not a string`);
    result.push([key, entry]);
  }
  return Object.fromEntries(result);
}

function asObject(value: unknown): Fields | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
