/**
 * Connections: one undici dispatcher for each (TLS settings, proxy, connect timeout), which keeps its own pool per host.
 *
 * undici is imported on first use, so that a daemon that pulls nothing does not pay for it.
 */
import type { Dispatcher } from 'undici';
import { CairnError } from '../base/errors.ts';
import { proxyFor } from './proxy.ts';
import { makeSecureContext, type TlsSettings, tlsKey } from './tls.ts';

/** More hosts than a node has registries; the least recently used one closes when its requests are done. */
const DISPATCHERS_MAX = 32;
const CONNECTIONS_PER_HOST_MAX = 64;
const KEEP_ALIVE_MS = 15_000;
/** Of all header lines: challenges and signed redirects are long, but not that long. */
const HEADER_BYTES_MAX = 64 * 1024;

export interface Dispatchers extends AsyncDisposable {
  dispatcherFor(url: URL, tls: TlsSettings, connectTimeoutMs: number): Promise<Dispatcher>;
}

export function createDispatchers(environment: NodeJS.ProcessEnv): Dispatchers {
  const open = new Map<string, Promise<Dispatcher>>();
  let disposed = false;

  const close = (dispatcher: Promise<Dispatcher>) => dispatcher.then((one) => one.close()).catch(() => undefined);

  return {
    dispatcherFor: async (url, tls, connectTimeoutMs) => {
      // A retry must not bring connections back to life.
      if (disposed) throw new CairnError('Cancelled', 'the registry client was closed', { step: 'registry.connect' });
      const proxy = proxyFor(url, environment);
      const key = `${url.protocol === 'https:' ? tlsKey(tls) : 'plain'} ${connectTimeoutMs} ${proxy?.href ?? ''}`;
      const known = open.get(key);
      open.delete(key);
      const dispatcher = known ?? make(url, tls, proxy, connectTimeoutMs, environment);
      open.set(key, dispatcher);
      dispatcher.catch(() => open.delete(key));
      const [oldest] = open;
      if (open.size > DISPATCHERS_MAX && oldest) {
        open.delete(oldest[0]);
        void close(oldest[1]);
      }
      return dispatcher;
    },
    [Symbol.asyncDispose]: async () => {
      disposed = true;
      const all = [...open.values()];
      open.clear();
      await Promise.all(all.map((one) => one.then((dispatcher) => dispatcher.destroy()).catch(() => undefined)));
    },
  };
}

async function make(
  url: URL,
  tls: TlsSettings,
  proxy: URL | undefined,
  connectTimeoutMs: number,
  environment: NodeJS.ProcessEnv,
): Promise<Dispatcher> {
  // By its default export: a bundle has no other for a CommonJS package.
  const { Agent, ProxyAgent } = (await import('undici')).default;
  const secure = url.protocol === 'https:';
  const connect = {
    timeout: connectTimeoutMs,
    ...(secure && {
      secureContext: await makeSecureContext(tls, environment),
      rejectUnauthorized: !tls.skipVerify,
    }),
  };
  const pool = {
    connections: CONNECTIONS_PER_HOST_MAX,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxHeaderSize: HEADER_BYTES_MAX,
  };
  if (!proxy) return new Agent({ ...pool, connect });
  // Plain HTTP is forwarded, not tunnelled: many proxies allow CONNECT to port 443 only.
  return new ProxyAgent({
    ...pool,
    uri: proxy.href,
    proxyTunnel: secure,
    requestTls: connect,
    proxyTls: { timeout: connectTimeoutMs },
  });
}
