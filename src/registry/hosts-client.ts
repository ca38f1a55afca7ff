/**
 * Asks the hosts of a registry in order until one answers: authorization, retries, failover.
 *
 * A host is asked again (backoff, jitter, Retry-After) when it did not answer, answered 5xx or 429, or broke off; the
 * registry itself more often than a mirror, behind which the next host waits. Any failure leads to the next host. A
 * host that did not answer is asked last for a while, so that a dead mirror does not delay every blob.
 */
import { CairnError, messageOf, throwIfAborted } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { AuthContext, Authorizer } from './auth.ts';
import type { CredentialSource } from './credentials.ts';
import type { HostDirectory, RegistryHost } from './hosts.ts';
import type { Capability } from './hosts-toml.ts';
import type { CallOptions, Reference, RegistryLimits } from './index.ts';
import { failureOf, type HostFailure, NoAnswer } from './outcome.ts';
import { formatReference } from './reference.ts';
import { refusalOf } from './response.ts';
import { backoffMs, sleep } from './retry.ts';
import type { HttpResponse, Transport } from './transport.ts';

const MIRROR_TRIES_MAX = 2;
const DEMOTED_MAX = 64;
const DEMOTION_MS = 30_000;
const PLAIN_MAX = 256;

export interface HostsCall<T> {
  readonly reference: Reference;
  readonly capability: Capability;
  readonly method: 'GET' | 'HEAD';
  /** Behind the repository: `/manifests/latest`. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  /** The answer's bytes are checked against a digest. */
  readonly verified: boolean;
  /** Statuses that `accept` takes. */
  readonly statuses: readonly number[];
  /** Reads the answer. `NoAnswer` has the host asked again, a CairnError the next one. */
  accept(response: HttpResponse, host: RegistryHost): Promise<T>;
  readonly options: CallOptions;
  readonly step: string;
}

export interface HostsClient {
  ask<T>(call: HostsCall<T>): Promise<T>;
  /** What was promising has broken off: asks this host last for a while. */
  demote(host: RegistryHost): void;
}

export interface HostsClientOptions {
  readonly hosts: HostDirectory;
  readonly credentials: CredentialSource;
  readonly authorizer: Authorizer;
  readonly transport: Transport;
  readonly limits: RegistryLimits;
  readonly userAgent: string;
  readonly log: Logger;
}

export function createHostsClient(options: HostsClientOptions): HostsClient {
  const { hosts, credentials, authorizer, transport, limits, userAgent, log } = options;
  const demotedUntilMs = new Map<string, number>();
  /** Loopback registries that turned out not to speak TLS. */
  const plainOrigins = new Set<string>();

  const demote = (host: RegistryHost) => {
    if (host.isServer) return;
    demotedUntilMs.set(host.origin, Date.now() + DEMOTION_MS);
    const [oldest] = demotedUntilMs.keys();
    if (demotedUntilMs.size > DEMOTED_MAX && oldest !== undefined) demotedUntilMs.delete(oldest);
  };
  const isDemoted = (host: RegistryHost) => (demotedUntilMs.get(host.origin) ?? 0) > Date.now();

  /** One request, and a second one with authorization when the first is challenged. */
  const send = async <T>(host: RegistryHost, call: HostsCall<T>): Promise<HttpResponse> => {
    const { repository } = call.reference;
    const signal = call.options.signal;
    const url = new URL(`${host.origin}${host.path}/${repository}${call.path}`);
    if (host.isProxy) url.searchParams.set('ns', call.reference.host);
    const given = call.options.credentials;
    const context: AuthContext = {
      host,
      repository,
      actions: 'pull',
      given,
      credentials: () => credentials.credentialsFor(host, call.reference, given, signal),
      signal,
    };
    let authorization = authorizer.known(context);
    // What was known may have expired or been revoked; what is new and refused stays refused.
    let answersLeft = authorization === undefined ? 1 : 2;
    for (;;) {
      const response = await transport.send({
        method: call.method,
        url,
        headers: { 'user-agent': userAgent, 'accept-encoding': 'identity', ...call.headers },
        originHeaders: { ...host.headers, ...(authorization !== undefined && { authorization }) },
        tls: host.tls,
        connectTimeoutMs: host.connectTimeoutMs,
        verified: call.verified,
        signal,
        step: call.step,
      });
      // A challenge of a host that we were redirected to is not ours to answer.
      if (response.status !== 401 || answersLeft-- === 0 || response.url.origin !== host.origin) return response;
      const words = await refusalOf(response, url, call.step);
      const answer = await authorizer.answer(response.header('www-authenticate'), authorization, context);
      if (answer === undefined) throw words;
      authorization = answer;
    }
  };

  const askOnce = async <T>(host: RegistryHost, call: HostsCall<T>): Promise<T> => {
    const response = await send(host, call);
    if (!call.statuses.includes(response.status)) {
      throw await refusalOf(response, new URL(host.origin), call.step);
    }
    return call.accept(response, host);
  };

  const askWithFallback = async <T>(host: RegistryHost, call: HostsCall<T>): Promise<T> => {
    if (!host.plainFallback) return askOnce(host, call);
    if (!plainOrigins.has(host.origin)) {
      try {
        return await askOnce(host, call);
      } catch (error) {
        if (!(error instanceof NoAnswer) || !error.notTls) throw error;
        if (plainOrigins.size >= PLAIN_MAX) plainOrigins.clear();
        plainOrigins.add(host.origin);
      }
    }
    return askOnce({ ...host, origin: plainOrigin(host) }, call);
  };

  const askWithRetries = async <T>(host: RegistryHost, call: HostsCall<T>, isLast: boolean): Promise<T> => {
    const triesMax = isLast ? limits.triesMax : Math.min(MIRROR_TRIES_MAX, limits.triesMax);
    for (let tries = 1; ; tries++) {
      try {
        return await askWithFallback(host, call);
      } catch (error) {
        if (!(error instanceof NoAnswer) || !error.retryable || tries >= triesMax) throw error;
        const delayMs = backoffMs(limits, tries, error.retryAfterMs);
        if (delayMs === undefined) throw error;
        // It may speak TLS by now.
        plainOrigins.delete(host.origin);
        log.debug({ host: host.origin, tries, delayMs, error: error.message }, 'the registry is asked again');
        await sleep(delayMs, call.options.signal, call.step);
      }
    }
  };

  return {
    demote,
    ask: async (call) => {
      const capable = (await hosts.hostsFor(call.reference.host)).filter((host) =>
        host.capabilities.includes(call.capability),
      );
      const ordered = [...capable.filter((host) => !isDemoted(host)), ...capable.filter(isDemoted)];
      const image = formatReference(call.reference);
      const failures: HostFailure[] = [];
      for (const [at, host] of ordered.entries()) {
        throwIfAborted(call.options.signal, call.step);
        const isLast = at === ordered.length - 1;
        try {
          return await askWithRetries(host, call, isLast);
        } catch (error) {
          const mayContinue = error instanceof NoAnswer || (error instanceof CairnError && isAnswer(error));
          if (!mayContinue) throw error;
          if (error instanceof NoAnswer) demote(host);
          const address = plainOrigins.has(host.origin) ? plainOrigin(host) : host.origin;
          failures.push({ address, isServer: host.isServer, error });
          if (error instanceof NoAnswer) plainOrigins.delete(host.origin);
          if (isLast) break;
          log.warn({ image, host: host.origin, error: messageOf(error) }, 'a mirror failed; the next host is asked');
        }
      }
      throw failureOf(image, failures, call.step);
    },
  };
}

function plainOrigin(host: RegistryHost): string {
  return `http://${host.authority}`;
}

/** Cancellation and a broken configuration concern the call, not the host: no other host is asked. */
function isAnswer(error: CairnError): boolean {
  return !['Cancelled', 'DeadlineExceeded', 'FailedPrecondition'].includes(error.kind);
}
