/**
 * One HTTP request to a registry: redirects followed by hand, every wait bounded and ended by the caller's signal.
 *
 * Authorization and configured headers go to the origin (scheme, host, port) that they were given for and to no other,
 * so a redirect to a storage host carries neither; client certificates stay with their host. Nothing is retried here.
 * Throws `NoAnswer` when there is no usable answer, and the abort error when the signal fires.
 */
import { types } from 'node:util';
import type { Dispatcher } from 'undici';
import { abortError, CairnError, errnoOf, throwIfAborted } from '../base/errors.ts';
import { createDispatchers } from './dispatchers.ts';
import { NoAnswer } from './outcome.ts';
import { type TlsSettings, withoutClients } from './tls.ts';

const REDIRECTS_MAX = 10;
const REDIRECT_STATUSES = [301, 302, 303, 307, 308];

export interface TransportTimeouts {
  readonly connectTimeoutMs: number;
  readonly headersTimeoutMs: number;
  /** Between two pieces of a body. A reader that takes its time does not count. */
  readonly stallTimeoutMs: number;
}

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly url: URL;
  /** Sent wherever redirects lead. */
  readonly headers: Readonly<Record<string, string>>;
  /** Sent to the origin of `url` only. */
  readonly originHeaders?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly tls: TlsSettings;
  readonly connectTimeoutMs?: number | undefined;
  /** The bytes are checked against a digest, so a redirect from https to http does no harm. */
  readonly verified?: boolean;
  readonly signal?: AbortSignal | undefined;
  readonly step: string;
}

export interface HttpResponse {
  readonly status: number;
  /** Where the answer came from, after redirects. */
  readonly url: URL;
  header(name: string): string | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  /** Ends the response without reading it. */
  discard(): void;
}

export interface Transport extends AsyncDisposable {
  send(request: HttpRequest): Promise<HttpResponse>;
}

export function createTransport(environment: NodeJS.ProcessEnv, timeouts: TransportTimeouts): Transport {
  const dispatchers = createDispatchers(environment);

  const sendOne = async (request: HttpRequest, url: URL): Promise<HttpResponse> => {
    throwIfAborted(request.signal, request.step);
    const sameOrigin = url.origin === request.url.origin;
    const tls = url.hostname === request.url.hostname ? request.tls : withoutClients(request.tls);
    const connectTimeoutMs = request.connectTimeoutMs ?? timeouts.connectTimeoutMs;
    const dispatcher = await dispatchers.dispatcherFor(url, tls, connectTimeoutMs);
    try {
      const response = await dispatcher.request({
        origin: url.origin,
        path: url.pathname + url.search,
        method: request.method,
        headers: { ...(sameOrigin && request.originHeaders), ...request.headers },
        headersTimeout: timeouts.headersTimeoutMs,
        bodyTimeout: timeouts.stallTimeoutMs,
        ...(request.body !== undefined && { body: request.body }),
        ...(request.signal && { signal: request.signal }),
      });
      return wrap(response, url, request);
    } catch (error) {
      throw failure(error, request);
    }
  };

  return {
    send: async (request) => {
      let url = request.url;
      for (let redirects = 0; ; redirects++) {
        const response = await sendOne(request, url);
        const location = response.header('location');
        const mayFollow = request.method === 'GET' || request.method === 'HEAD';
        if (!mayFollow || location === undefined || !REDIRECT_STATUSES.includes(response.status)) return response;
        response.discard();
        url = redirectTarget(location, url, request);
        if (redirects === REDIRECTS_MAX) {
          throw new NoAnswer(`more than ${REDIRECTS_MAX} redirects, the last to ${url.origin}`, { retryable: false });
        }
      }
    },
    [Symbol.asyncDispose]: () => dispatchers[Symbol.asyncDispose](),
  };
}

/** Only the origin of a target is ever shown: signed URLs carry their key in the query. */
function redirectTarget(location: string, from: URL, request: HttpRequest): URL {
  const url = URL.parse(location, from.href);
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new NoAnswer(`${from.origin} redirects to something that is no http or https address`, { retryable: false });
  }
  if (from.protocol === 'https:' && url.protocol === 'http:' && !request.verified) {
    throw new NoAnswer(`${from.origin} redirects from https to ${url.origin}`, { retryable: false });
  }
  url.username = '';
  url.password = '';
  return url;
}

function wrap(response: Dispatcher.ResponseData, url: URL, request: HttpRequest): HttpResponse {
  return {
    status: response.statusCode,
    url,
    header: (name) => {
      const value = response.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    body: readBody(response, request),
    discard: () => {
      // Without a listener, the error of a body that is destroyed half-way would be a bug's.
      response.body.on('error', () => undefined);
      response.body.destroy();
    },
  };
}

async function* readBody(response: Dispatcher.ResponseData, request: HttpRequest): AsyncGenerator<Uint8Array> {
  const chunks = response.body[Symbol.asyncIterator]();
  try {
    for (;;) {
      let next: IteratorResult<Uint8Array>;
      try {
        next = await chunks.next();
      } catch (error) {
        throw failure(error, request);
      }
      if (next.done) return;
      yield next.value;
    }
  } finally {
    response.body.on('error', () => undefined);
    response.body.destroy();
  }
}

/** Answers that mean "no TLS here". */
const NOT_TLS = ['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG', 'EPROTO', 'ERR_SSL_HTTP_REQUEST'];
/** Asking again changes nothing. */
const FINAL = ['ENOTFOUND', 'UND_ERR_HEADERS_OVERFLOW'];
/** Mistakes of ours. */
const BUGS = ['UND_ERR_INVALID_ARG', 'UND_ERR_NOT_SUPPORTED', 'UND_ERR_INVALID_RETURN_VALUE'];

function failure(thrown: unknown, request: HttpRequest): unknown {
  if (request.signal?.aborted) return abortError(request.signal, request.step);
  if (thrown instanceof CairnError || thrown instanceof NoAnswer) return thrown;
  const code = errnoOf(thrown) ?? '';
  // The forward proxy's refusal comes as if the arguments were wrong.
  const isProxyRefusal = code === 'UND_ERR_INVALID_ARG' && /\(407\)/.test(describe(thrown));
  const isSystem = code !== '' && !BUGS.includes(code) && !code.startsWith('ERR_INVALID_');
  if (!isSystem && !isProxyRefusal) return thrown;
  const isCertificate = /CERT|SIGNATURE|ALTNAME/.test(code);
  return new NoAnswer(describe(thrown), {
    retryable: !isCertificate && !isProxyRefusal && !FINAL.includes(code),
    notTls: NOT_TLS.includes(code),
    cause: thrown,
  });
}

/** The words of a system error; a connection that was tried on several addresses has one for each. */
function describe(thrown: unknown): string {
  if (!types.isNativeError(thrown)) return String(thrown);
  if ('errors' in thrown && Array.isArray(thrown.errors) && thrown.errors.length > 0) {
    return [...new Set(thrown.errors.map(describe))].join(', ');
  }
  // OpenSSL's message is a line of addresses and source positions.
  if ('reason' in thrown && typeof thrown.reason === 'string' && 'library' in thrown) return `TLS: ${thrown.reason}`;
  const text = thrown.message.split('\n', 1)[0] || thrown.name;
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
