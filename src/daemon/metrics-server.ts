/** Serves `/metrics` for Prometheus: Cairn's own series and those of the process and the event loop. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics } from 'prom-client';
import { CairnError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { metrics } from '../base/metrics.ts';

const REQUEST_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 64;

/** Splits HOST:PORT as the configuration checked it; an IPv6 host stands in brackets. */
export function parseHostPort(address: string): { readonly host: string; readonly port: number } {
  const colon = address.lastIndexOf(':');
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ''), port: Number(address.slice(colon + 1)) };
}

/** Listens until disposed. FailedPrecondition when the address can't be had. */
export async function serveMetrics(
  address: string,
  log: Logger,
): Promise<AsyncDisposable & { readonly address: string }> {
  collectDefaultMetrics({ register: metrics, prefix: 'cairn_' });
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    if (request.url?.split('?')[0] !== '/metrics' || request.method !== 'GET') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('only GET /metrics is served here\n');
      return;
    }
    metrics.metrics().then(
      (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
      (error: unknown) => {
        log.error({ err: error }, 'metrics could not be collected');
        response.writeHead(500).end();
      },
    );
  });
  server.maxConnections = CONNECTIONS_MAX;
  await listen(server, address);
  const bound = server.address() as AddressInfo;
  const shown = bound.family === 'IPv6' ? `[${bound.address}]:${bound.port}` : `${bound.address}:${bound.port}`;
  log.info({ address: shown }, 'serving metrics');
  return {
    address: shown,
    [Symbol.asyncDispose]: () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => {
      reject(new CairnError('FailedPrecondition', `metrics_address ${address}: ${messageOf(error)}`, { cause: error }));
    });
    server.listen(parseHostPort(address), resolve);
  });
}
