/**
 * The image configuration (OCI image spec, config.md; Docker writes the same keys), checked at this one door.
 *
 * Unknown keys are ignored; a known key of the wrong type is DataLoss naming the config's digest and the key.
 */
import { type Digest, tryParseDigest } from '../base/digest.ts';
import { CairnError } from '../base/errors.ts';
import type { ImageConfig } from './index.ts';

/** Of a config blob; checked before it is fetched. */
export const CONFIG_BYTES_MAX = 8 * 1024 * 1024;
const ENTRIES_MAX = 10_000;

export interface ParsedConfig {
  readonly config: ImageConfig;
  /** Bottom first. */
  readonly diffIds: readonly Digest[];
}

export function parseImageConfig(bytes: Uint8Array, digest: Digest): ParsedConfig {
  try {
    const root = new Fields(readJson(bytes), '');
    const settings = root.object('config');
    const rootfs = root.object('rootfs');
    return {
      config: {
        os: root.string('os'),
        architecture: root.string('architecture'),
        variant: root.string('variant') || undefined,
        created: root.string('created'),
        user: settings.string('User'),
        env: settings.strings('Env'),
        entrypoint: settings.strings('Entrypoint'),
        cmd: settings.strings('Cmd'),
        workingDir: settings.string('WorkingDir'),
        volumes: settings.keys('Volumes'),
        exposedPorts: settings.keys('ExposedPorts'),
        labels: settings.stringMap('Labels'),
        stopSignal: settings.string('StopSignal'),
      },
      diffIds: rootfs.strings('diff_ids').map((text, at) => {
        return tryParseDigest(text) ?? fail(`rootfs.diff_ids[${at}]: ${JSON.stringify(text)} is not a digest`);
      }),
    };
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new CairnError('DataLoss', `image config ${digest} is broken: ${error.message}`, { step: 'images.config' });
  }
}

/** What is wrong, before it is known in which blob. */
class Malformed extends Error {}

function fail(why: string): never {
  throw new Malformed(why);
}

function readJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return fail('not JSON in UTF-8');
  }
}

/** The values of one JSON object; a missing or null key is empty. */
class Fields {
  readonly #values: ReadonlyMap<string, unknown>;
  readonly #path: string;

  constructor(value: unknown, path: string) {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      fail(`${path || 'the whole'}: is not an object`);
    }
    const entries = Object.entries(value);
    if (entries.length > ENTRIES_MAX) fail(`${path || 'the whole'}: more than ${ENTRIES_MAX} entries`);
    this.#values = new Map(entries);
    this.#path = path;
  }

  object(key: string): Fields {
    return new Fields(this.#values.get(key) ?? {}, this.#name(key));
  }

  string(key: string): string {
    const value = this.#values.get(key) ?? '';
    return typeof value === 'string' ? value : fail(`${this.#name(key)}: is not a string`);
  }

  strings(key: string): readonly string[] {
    const value = this.#values.get(key) ?? [];
    if (!Array.isArray(value) || !value.every((entry) => typeof entry === 'string')) {
      return fail(`${this.#name(key)}: is not a list of strings`);
    }
    return value.length <= ENTRIES_MAX ? value : fail(`${this.#name(key)}: more than ${ENTRIES_MAX} entries`);
  }

  /** The keys of an object used as a set. */
  keys(key: string): readonly string[] {
    return [...this.object(key).#values.keys()];
  }

  stringMap(key: string): Readonly<Record<string, string>> {
    const fields = this.object(key);
    return Object.fromEntries([...fields.#values.keys()].map((name) => [name, fields.string(name)]));
  }

  #name(key: string): string {
    return this.#path === '' ? key : `${this.#path}.${key}`;
  }
}
