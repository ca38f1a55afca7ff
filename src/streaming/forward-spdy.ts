/**
 * Port-forward over SPDY: for each connection the client opens an error and a data stream with the same `requestID`, both
 * with the `port`.
 */
import type { Duplex } from 'node:stream';
import type { PortForwardRequest, StreamingServerOptions } from './index.ts';
import { forwardPort } from './port-forward.ts';
import type { Session } from './session.ts';
import { SpdyConnection } from './spdy-connection.ts';
import type { SpdyStream } from './spdy-stream.ts';

export const SPDY_FORWARD_PROTOCOLS = ['portforward.k8s.io'];

const PAIR_MS_MAX = 30_000;
const PORT_MAX = 65_535;

interface Half {
  readonly stream: SpdyStream;
  readonly kind: 'error' | 'data';
  readonly port: number;
  readonly timer: NodeJS.Timeout;
}

/** Serves until the client has gone and all its connections are closed. */
export async function serveForwardSpdy(
  transport: Duplex,
  request: PortForwardRequest,
  pods: StreamingServerOptions['pods'],
  session: Session,
): Promise<void> {
  const waiting = new Map<string, Half>();
  const running = new Set<Promise<void>>();
  const connection = new SpdyConnection(transport, { onActivity: session.active, onStream: receive });

  function receive(stream: SpdyStream): void {
    const half = halfOf(stream);
    if (half === undefined) {
      stream.destroy();
      return;
    }
    const id = requestId(half);
    const other = waiting.get(id);
    waiting.delete(id);
    if (other) clearTimeout(other.timer);
    if (other === undefined || other.kind === half.kind || other.port !== half.port) {
      // The older of two that do not fit is given up.
      other?.stream.destroy();
      waiting.set(id, half);
      return;
    }
    clearTimeout(half.timer);
    const [data, error] = half.kind === 'data' ? [half.stream, other.stream] : [other.stream, half.stream];
    const forward = serve(data, error, half.port).finally(() => running.delete(forward));
    running.add(forward);
  }

  function halfOf(stream: SpdyStream): Half | undefined {
    const kind = stream.headers.get('streamtype');
    const port = stream.headers.get('port') ?? '';
    if ((kind !== 'error' && kind !== 'data') || !/^\d{1,5}$/.test(port)) return undefined;
    if (Number(port) < 1 || Number(port) > PORT_MAX) return undefined;
    const timer = setTimeout(() => {
      waiting.delete(requestId({ stream, kind }));
      if (kind === 'error') stream.end('the data stream did not come');
      else stream.destroy();
    }, PAIR_MS_MAX);
    timer.unref();
    return { stream, kind, port: Number(port), timer };
  }

  async function serve(data: SpdyStream, error: SpdyStream, port: number): Promise<void> {
    const { podSandboxId: podId } = request;
    error.resume();
    const failure = await forwardPort({
      ...{ pods, podId, port, input: data, output: data },
      halfClose: true,
      signal: session.signal,
    });
    if (failure === undefined) {
      data.end();
      error.end();
    } else {
      session.log.debug({ pod: podId, port }, failure);
      error.end(failure);
      data.destroy();
    }
    // What the client still sends into the closed connection must not hold up the others.
    data.resume();
  }

  await connection.ended;
  session.end('the client has gone');
  for (const { timer } of waiting.values()) clearTimeout(timer);
  await Promise.all(running);
}

/** Clients without `requestID` open the error stream first, and the data stream with the next odd number. */
function requestId({ stream, kind }: Pick<Half, 'stream' | 'kind'>): string {
  return stream.headers.get('requestid') ?? `stream ${kind === 'error' ? stream.id : stream.id - 2}`;
}
