/**
 * Docker's config.json: `auths`, and the external helpers named by `credHelpers` and `credsStore`.
 *
 * An entry's key is a host, or a host and the beginning of a repository; the longest that fits holds. What is in the
 * file, and what a helper prints, is secret: no error repeats any of it.
 */
import { readFile } from 'node:fs/promises';
import { CairnError, errnoOf, throwIfAborted } from '../base/errors.ts';
import type { Credentials } from './index.ts';

const HELPER_TIMEOUT_MS = 30_000;
const HELPER_OUTPUT_BYTES_MAX = 64 * 1024;
const CONFIG_BYTES_MAX = 4 * 1024 * 1024;
/** What Docker's tools store Docker Hub's credentials under. */
const DOCKER_HUB_KEY = 'https://index.docker.io/v1/';
const DOCKER_HUB_NAMES = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];

export interface DockerConfig {
  /** Key (a host, or host and path, normalised) to entry. */
  readonly auths: ReadonlyMap<string, Credentials>;
  /** Key (as in `auths`) to helper name. */
  readonly helpers: ReadonlyMap<string, string>;
  readonly store: string | undefined;
}

/** The config in the file `path`; undefined when there is none. FailedPrecondition naming the file when it is no config. */
export async function readDockerConfig(path: string): Promise<DockerConfig | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw broken(path, `can't be read (${errnoOf(error) ?? 'unknown error'})`);
  }
  return parseDockerConfig(text, path);
}

export function parseDockerConfig(text: string, path: string): DockerConfig {
  if (text.length > CONFIG_BYTES_MAX) throw broken(path, `is larger than ${CONFIG_BYTES_MAX} bytes`);
  const file = asObject(parseJson(text));
  if (!file) throw broken(path, 'is not a JSON object');
  const auths = new Map<string, Credentials>();
  for (const [key, value] of Object.entries(asObject(file['auths']) ?? {})) {
    const credentials = readEntry(asObject(value) ?? {}, `${path}: auths[${JSON.stringify(key)}]`);
    if (credentials) auths.set(normaliseKey(key), credentials);
  }
  const helpers = new Map<string, string>();
  for (const [key, value] of Object.entries(asObject(file['credHelpers']) ?? {})) {
    helpers.set(normaliseKey(key), helperName(value, `${path}: credHelpers[${JSON.stringify(key)}]`));
  }
  const store = file['credsStore'];
  const hasStore = store !== undefined && store !== null && store !== '';
  return { auths, helpers, store: hasStore ? helperName(store, `${path}: credsStore`) : undefined };
}

/** The credentials for `repository` at `host`, in Docker's order: the host's helper, the general one, the file. */
export async function findCredentials(
  config: DockerConfig,
  host: string,
  repository: string,
  environment: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<Credentials | undefined> {
  const helper = longestMatch(config.helpers, host, repository);
  if (helper !== undefined) return askHelper(helper, host, environment, signal);
  const stored = config.store === undefined ? undefined : await askHelper(config.store, host, environment, signal);
  return stored ?? longestMatch(config.auths, host, repository);
}

function longestMatch<V>(entries: ReadonlyMap<string, V>, host: string, repository: string): V | undefined {
  const parts = repository.split('/');
  for (const name of DOCKER_HUB_NAMES.includes(host) ? DOCKER_HUB_NAMES : [host]) {
    for (let length = parts.length; length >= 0; length--) {
      const found = entries.get([name.toLowerCase(), ...parts.slice(0, length)].join('/'));
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

/** `https://registry.example/v1/` and `registry.example` are the same key. */
export function normaliseKey(key: string): string {
  const bare = key
    .trim()
    .replace(/^https?:\/\//i, '')
    .replace(/\/+$/, '')
    .replace(/\/v[12]$/, '');
  const slash = bare.indexOf('/');
  return slash < 0 ? bare.toLowerCase() : bare.slice(0, slash).toLowerCase() + bare.slice(slash);
}

function readEntry(entry: Readonly<Record<string, unknown>>, place: string): Credentials | undefined {
  const text = (name: string) => {
    const value = entry[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  let username = text('username');
  let password = text('password');
  const auth = text('auth');
  if (auth !== undefined) {
    const decoded = Buffer.from(auth, 'base64').toString('utf8');
    const colon = decoded.indexOf(':');
    if (colon < 0) throw broken(place, 'auth is not the base64 form of "user:password"');
    username = decoded.slice(0, colon);
    // Old versions of Docker padded with zero bytes.
    password = decoded.slice(colon + 1).replace(/\0+$/, '');
  }
  const identityToken = text('identitytoken');
  const registryToken = text('registrytoken');
  if (username === undefined && password === undefined && !identityToken && !registryToken) return undefined;
  return {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(identityToken !== undefined && { identityToken }),
    ...(registryToken !== undefined && { registryToken }),
  };
}

/** The name becomes part of a program's name, which must not be a path. */
function helperName(value: unknown, place: string): string {
  if (typeof value === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(value)) return value;
  throw broken(place, 'is not the name of a credential helper');
}

/** Runs `docker-credential-NAME get`; undefined when it has nothing for the host. */
async function askHelper(
  name: string,
  host: string,
  environment: NodeJS.ProcessEnv,
  signal: AbortSignal | undefined,
): Promise<Credentials | undefined> {
  throwIfAborted(signal, 'registry.credentials');
  const program = `docker-credential-${name}`;
  const { execa } = await import('execa');
  const result = await execa(program, ['get'], {
    input: DOCKER_HUB_NAMES.includes(host) ? DOCKER_HUB_KEY : host,
    env: environment,
    extendEnv: false,
    timeout: HELPER_TIMEOUT_MS,
    forceKillAfterDelay: 2_000,
    maxBuffer: HELPER_OUTPUT_BYTES_MAX,
    reject: false,
    ...(signal && { cancelSignal: signal }),
  });
  throwIfAborted(signal, 'registry.credentials');
  if (result.failed) {
    // The protocol's way to say "none"; it comes on standard output with a failure.
    if (/credentials not found/i.test(result.stdout)) return undefined;
    const why = result.timedOut
      ? `no answer within ${HELPER_TIMEOUT_MS / 1000} s`
      : (result.code ?? `exit code ${result.exitCode}`);
    throw broken(program, `did not give credentials for ${host}: ${why}`);
  }
  const answer = asObject(parseJson(result.stdout));
  const username = answer?.['Username'];
  const secret = answer?.['Secret'];
  if (typeof username !== 'string' || typeof secret !== 'string') throw broken(program, 'answered without credentials');
  return username === '<token>' ? { identityToken: secret } : { username, password: secret };
}

/** A parser's message quotes its input, so it is dropped. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function asObject(value: unknown): Readonly<Record<string, unknown>> | undefined {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isObject ? (value as Record<string, unknown>) : undefined;
}

function broken(place: string, what: string): CairnError {
  return new CairnError('FailedPrecondition', `${place}: ${what}`, { step: 'registry.credentials' });
}
