/**
 * The token service that a bearer challenge names: GET with basic credentials (or none), POST with an identity token
 * (distribution spec, "token" and "oauth2").
 *
 * The realm is the challenging host's choice. Credentials never go there in the clear when the host itself speaks TLS,
 * and never follow a redirect to another origin.
 */
import { CairnError } from '../base/errors.ts';
import type { Challenge } from './challenge.ts';
import { isLoopback, type RegistryHost } from './hosts.ts';
import type { Credentials } from './index.ts';
import { NoAnswer } from './outcome.ts';
import { readBounded, refusalOf } from './response.ts';
import type { HttpRequest, Transport } from './transport.ts';

const TOKEN_ANSWER_BYTES_MAX = 256 * 1024;
const TOKEN_LENGTH_MAX = 48 * 1024;
/** What the token specification says for a server that does not. */
const TOKEN_LIFETIME_SECONDS = 60;
const TOKEN_LIFETIME_SECONDS_MAX = 24 * 3600;
/** A token is not used in the last tenth of its life (at most 10 s): it must last until the answer. */
const TOKEN_MARGIN_MS_MAX = 10_000;
const CLIENT_ID = 'cairn';

export interface Token {
  readonly value: string;
  readonly expiresAtMs: number;
}

export interface TokenRequest {
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scope: string;
}

/** What to ask for; `fallbackScope` where the challenge's parameters name none. Unauthenticated when the realm can't be used. */
export function tokenRequest(
  parameters: Challenge['parameters'],
  fallbackScope: string,
  host: RegistryHost,
  credentials: Credentials | undefined,
): TokenRequest {
  const { realm: unsafeRealm, service, scope } = parameters;
  const realm = URL.parse(unsafeRealm ?? '');
  if (!realm || !/^https?:$/.test(realm.protocol) || realm.username !== '' || realm.password !== '') {
    throw refuse('its challenge names no usable token service');
  }
  const inTheClear = realm.protocol === 'http:' && !isLoopback(realm.host);
  if (inTheClear && host.origin.startsWith('https:') && credentials !== undefined) {
    throw refuse(`its token service ${realm.origin} is plain http: credentials are not sent there`);
  }
  return { realm, service, scope: scope || fallbackScope };
}

export async function fetchToken(
  transport: Transport,
  userAgent: string,
  { realm, service, scope }: TokenRequest,
  host: RegistryHost,
  credentials: Credentials | undefined,
  signal: AbortSignal | undefined,
): Promise<Token> {
  const url = new URL(realm.href);
  const identityToken = credentials?.identityToken;
  const form = new URLSearchParams({ client_id: CLIENT_ID, ...(service !== undefined && { service }), scope });
  const shared = { tls: host.tls, connectTimeoutMs: host.connectTimeoutMs, signal, step: 'registry.token' } as const;
  let request: HttpRequest;
  if (identityToken) {
    form.set('grant_type', 'refresh_token');
    form.set('refresh_token', identityToken);
    const headers = { 'user-agent': userAgent, 'content-type': 'application/x-www-form-urlencoded' };
    request = { ...shared, method: 'POST', url, headers, body: form.toString() };
  } else {
    for (const [name, value] of form) {
      // More than one scope in a challenge is one parameter each.
      if (name === 'scope') for (const one of value.split(' ')) url.searchParams.append('scope', one);
      else url.searchParams.set(name, value);
    }
    const authorization = basicOf(credentials);
    const originHeaders = authorization === undefined ? {} : { authorization };
    request = { ...shared, method: 'GET', url, headers: { 'user-agent': userAgent }, originHeaders };
  }
  const startedAtMs = Date.now();
  const response = await asTokenService(realm, () => transport.send(request));
  if (response.status !== 200) {
    const refusal = await refusalOf(response, url, 'registry.token');
    if (refusal instanceof NoAnswer) throw renamed(realm, refusal);
    // A token service has no images: whatever it refuses with, it is the credentials (or the lack of them).
    const kind = refusal.kind === 'PermissionDenied' ? 'PermissionDenied' : 'Unauthenticated';
    throw new CairnError(kind, `token service ${realm.origin} ${refusal.message}`, { step: 'registry.token' });
  }
  const body = await asTokenService(realm, () => readBounded(response, TOKEN_ANSWER_BYTES_MAX));
  return readToken(body, realm, startedAtMs);
}

/** Names the token service in what goes wrong with it. */
async function asTokenService<T>(realm: URL, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw error instanceof NoAnswer ? renamed(realm, error) : error;
  }
}

function renamed(realm: URL, { message, retryable, retryAfterMs, cause }: NoAnswer): NoAnswer {
  return new NoAnswer(`token service ${realm.origin}: ${message}`, { retryable, retryAfterMs, cause });
}

/** The text of the answer is a secret: nothing of it goes into an error. */
function readToken(body: Buffer | undefined, realm: URL, startedAtMs: number): Token {
  let fields: Record<string, unknown> = {};
  try {
    const parsed: unknown = JSON.parse(body?.toString('utf8') ?? '');
    if (typeof parsed === 'object' && parsed !== null) fields = parsed as Record<string, unknown>;
  } catch {
    // Told below.
  }
  const value = fields['token'] || fields['access_token'];
  if (typeof value !== 'string' || value.length > TOKEN_LENGTH_MAX || !/^[\x21-\x7e]+$/.test(value)) {
    throw refuse(`token service ${realm.origin} answered without a usable token`);
  }
  const seconds = fields['expires_in'];
  const isLifetime = typeof seconds === 'number' && seconds > 0;
  const lifetimeMs = Math.min(isLifetime ? seconds : TOKEN_LIFETIME_SECONDS, TOKEN_LIFETIME_SECONDS_MAX) * 1000;
  return { value, expiresAtMs: startedAtMs + lifetimeMs - Math.min(TOKEN_MARGIN_MS_MAX, lifetimeMs / 10) };
}

export function basicOf(credentials: Credentials | undefined): string | undefined {
  if (!credentials?.username && !credentials?.password) return undefined;
  const pair = `${credentials.username ?? ''}:${credentials.password ?? ''}`;
  return `Basic ${Buffer.from(pair).toString('base64')}`;
}

function refuse(message: string): CairnError {
  return new CairnError('Unauthenticated', message, { step: 'registry.token' });
}
