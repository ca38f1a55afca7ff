/** How long to wait before the next try: exponential with jitter, or what the server asked for, within a limit. */
import { abortError, throwIfAborted } from '../base/errors.ts';

export interface RetryPolicy {
  readonly baseMs: number;
  readonly delayMsMax: number;
  /** A server that wants a longer wait gets no further try. */
  readonly retryAfterMsMax: number;
}

/** The wait before try number `attempt` (the second is 1), or undefined when the server wants more than is allowed. */
export function backoffMs(policy: RetryPolicy, attempt: number, retryAfterMs: number | undefined): number | undefined {
  if (retryAfterMs !== undefined && retryAfterMs > policy.retryAfterMsMax) return undefined;
  const ceiling = Math.min(policy.delayMsMax, policy.baseMs * 2 ** (attempt - 1));
  // Between half and all of it, so that many pods that failed together do not come back together.
  return Math.max(retryAfterMs ?? 0, ceiling * (0.5 + Math.random() / 2));
}

/** Retry-After (RFC 9110, 10.2.3): seconds, or a date. */
export function parseRetryAfter(value: string | undefined, nowMs = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
}

/** Sleeps; throws when `signal` fires first. */
export async function sleep(durationMs: number, signal: AbortSignal | undefined, step: string): Promise<void> {
  throwIfAborted(signal, step);
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, durationMs);
    const onAbort = () => {
      clearTimeout(timer);
      if (signal) reject(abortError(signal, step));
    };
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}
