/**
 * Authorization: what a registry's 401 asks for, basic or bearer.
 *
 * Credentials are looked up when a host asks for them, and go to the host that they are meant for (`credentials.ts`)
 * and to the token service that this host names. Tokens and headers live in memory only, bounded, each under the
 * credentials that got it, so that one caller never profits from another's, until they expire or are refused.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { parseChallenges } from './challenge.ts';
import type { RegistryHost } from './hosts.ts';
import type { Credentials } from './index.ts';
import { basicOf, fetchToken, type Token, tokenRequest } from './token-service.ts';
import type { Transport } from './transport.ts';

const HEADERS_MAX = 256;
/** Passwords change in the docker config; a refused one is looked up again at once, a good one after this. */
const BASIC_LIFETIME_MS = 60_000;

export interface AuthContext {
  readonly host: RegistryHost;
  readonly repository: string;
  /** The actions of the scope: `pull`, or `pull,push`. */
  readonly actions: string;
  /** The caller's own credentials. */
  readonly given: Credentials | undefined;
  /** The credentials for this host: the caller's, the docker config's or none. */
  credentials(): Promise<Credentials | undefined>;
  readonly signal: AbortSignal | undefined;
}

export interface Authorizer {
  /** The Authorization header that this host took from this caller before; undefined: ask without. */
  known(context: AuthContext): string | undefined;
  /** The header that answers a challenge; undefined when there is none but `refused`, which was just turned down. */
  answer(challenge: string | undefined, refused: string | undefined, context: AuthContext): Promise<string | undefined>;
}

export function createAuthorizer(transport: Transport, userAgent: string): Authorizer {
  // Keys hold a keyed hash of credentials: equal ones meet, and none is kept.
  const hashKey = randomBytes(32);
  const headers = new Map<string, Token>();

  const keyOf = ({ host, repository, actions, given }: AuthContext): string => {
    const { username, password, identityToken, registryToken, serverAddress } = given ?? {};
    const caller = [username, password, identityToken, registryToken, serverAddress];
    return createHmac('sha256', hashKey)
      .update(JSON.stringify([host.origin, host.isServer, repository, actions, caller]))
      .digest('base64');
  };

  const bearer = async (
    parameters: Readonly<Record<string, string>>,
    context: AuthContext,
    credentials: Credentials | undefined,
  ): Promise<Token> => {
    const { host, repository, actions, signal } = context;
    if (credentials?.registryToken) {
      return { value: credentials.registryToken, expiresAtMs: Date.now() + BASIC_LIFETIME_MS };
    }
    const request = tokenRequest(parameters, `repository:${repository}:${actions}`, host, credentials);
    return fetchToken(transport, userAgent, request, host, credentials, signal);
  };

  return {
    known: (context) => {
      const key = keyOf(context);
      const header = headers.get(key);
      if (header && header.expiresAtMs > Date.now()) return header.value;
      headers.delete(key);
      return undefined;
    },
    answer: async (challenge, refused, context) => {
      headers.delete(keyOf(context));
      const offered = parseChallenges(challenge);
      const chosen =
        offered.find(({ scheme }) => scheme === 'bearer') ?? offered.find(({ scheme }) => scheme === 'basic');
      if (!chosen) return undefined;
      const credentials = await context.credentials();
      let header: Token;
      if (chosen.scheme === 'bearer') {
        const token = await bearer(chosen.parameters, context, credentials);
        header = { value: `Bearer ${token.value}`, expiresAtMs: token.expiresAtMs };
      } else {
        const basic = basicOf(credentials);
        if (basic === undefined) return undefined;
        header = { value: basic, expiresAtMs: Date.now() + BASIC_LIFETIME_MS };
      }
      if (header.value === refused) return undefined;
      remember(headers, keyOf(context), header, HEADERS_MAX);
      return header.value;
    },
  };
}

/** Keeps the youngest `max` entries. */
function remember<V>(map: Map<string, V>, key: string, value: V, max: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > max && oldest !== undefined) map.delete(oldest);
}
