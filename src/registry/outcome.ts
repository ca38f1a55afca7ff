/**
 * What asking one host came to, when it came to nothing: either the host did not answer, or it answered no. The whole
 * list becomes one error that names every host.
 */
import { CairnError, type ErrorKind } from '../base/errors.ts';

/** No answer, or none that can be used: refused, reset, stalled, cut short, TLS failed, 5xx, 429. Stays in this module. */
export class NoAnswer extends Error {
  /** Asking the same host again may help. */
  readonly retryable: boolean;
  /** The host wants us to wait that long. */
  readonly retryAfterMs: number | undefined;
  /** Whoever listens there does not speak TLS. */
  readonly notTls: boolean;

  constructor(
    message: string,
    options: { retryable: boolean; retryAfterMs?: number | undefined; notTls?: boolean; cause?: unknown },
  ) {
    super(message, { cause: options.cause });
    this.retryable = options.retryable;
    this.retryAfterMs = options.retryAfterMs;
    this.notTls = options.notTls ?? false;
  }
}

export interface HostFailure {
  /** `https://mirror.example:5000`. */
  readonly address: string;
  /** The registry itself, not a mirror: its word counts most. */
  readonly isServer: boolean;
  readonly error: CairnError | NoAnswer;
}

/** What a whole call failed with. `answered`: a registry said no, so asking another way may tell more. */
export class HostsFailed extends CairnError {
  readonly answered: boolean;

  constructor(kind: ErrorKind, message: string, step: string, answered: boolean, cause: unknown) {
    super(kind, message, { step, cause });
    this.answered = answered;
  }
}

const HEADLINES: Partial<Record<ErrorKind, string>> = {
  NotFound: 'not found',
  Unauthenticated: 'the registry wants other credentials',
  PermissionDenied: 'access denied',
  DataLoss: 'the registry sent wrong data',
};

/**
 * The most telling failure decides the kind: wrong data first, then what the registry itself said, then a host that
 * did not answer (it might have had the image), then what the last mirror said. All hosts are named.
 */
export function failureOf(image: string, failures: readonly HostFailure[], step: string): CairnError {
  const [only] = failures;
  if (!only) {
    return new CairnError('FailedPrecondition', `${image}: no host in the registry's hosts.toml is capable of this`, {
      step,
    });
  }
  const broken = failures.find(({ error }) => error instanceof CairnError && error.kind === 'DataLoss');
  const server = failures.find((failure) => failure.isServer);
  const silent = failures.find(({ error }) => error instanceof NoAnswer);
  const telling = broken ?? server ?? silent ?? failures.at(-1) ?? only;
  const others = failures.filter((failure) => failure !== telling);
  const also = others.length === 0 ? '' : `; also asked: ${others.map(sayFailure).join('; ')}`;
  if (telling.error instanceof NoAnswer) {
    const message = `RegistryUnavailable: ${image}: ${sayFailure(telling)}${also}`;
    return new HostsFailed('Unknown', message, step, false, telling.error);
  }
  const headline = HEADLINES[telling.error.kind];
  const message = `${image}: ${headline ? `${headline}: ` : ''}${sayFailure(telling)}${also}`;
  return new HostsFailed(telling.error.kind, message, step, true, telling.error);
}

function sayFailure(failure: HostFailure): string {
  return `${failure.address}: ${failure.error.message}`;
}
