/**
 * One-time tokens: who got a streaming URL over the CRI socket may open that stream, once and soon. The streaming server
 * knows no other authentication, so a token is as good as a key.
 */
import { randomBytes } from 'node:crypto';
import { CairnError } from '../base/errors.ts';

export interface TokenTableOptions {
  readonly lifetimeMs?: number;
  readonly tokensMax?: number;
  /** A clock that never goes back, for tests. */
  readonly now?: () => number;
}

const LIFETIME_MS = 60_000;
const TOKENS_MAX = 1000;
const TOKEN_BYTES = 32;

export class TokenTable<T> {
  readonly #lifetimeMs: number;
  readonly #tokensMax: number;
  readonly #now: () => number;
  /** Oldest first. */
  readonly #issued = new Map<string, { readonly value: T; readonly expiresAtMs: number }>();

  constructor(options: TokenTableOptions = {}) {
    this.#lifetimeMs = options.lifetimeMs ?? LIFETIME_MS;
    this.#tokensMax = options.tokensMax ?? TOKENS_MAX;
    this.#now = options.now ?? (() => performance.now());
  }

  /** ResourceExhausted while too many tokens wait for their use. */
  issue(value: T): string {
    this.#forgetExpired();
    if (this.#issued.size >= this.#tokensMax) {
      const message = `${this.#tokensMax} streaming requests wait for their client; try again in a minute`;
      throw new CairnError('ResourceExhausted', message, { step: 'streaming.token' });
    }
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    this.#issued.set(token, { value, expiresAtMs: this.#now() + this.#lifetimeMs });
    return token;
  }

  /** What the token was issued for; undefined the second time, after its time, and for one never issued. */
  redeem(unsafeToken: string): T | undefined {
    this.#forgetExpired();
    const issued = this.#issued.get(unsafeToken);
    this.#issued.delete(unsafeToken);
    return issued?.value;
  }

  #forgetExpired(): void {
    const now = this.#now();
    for (const [token, { expiresAtMs }] of this.#issued) {
      if (expiresAtMs > now) return;
      this.#issued.delete(token);
    }
  }
}
