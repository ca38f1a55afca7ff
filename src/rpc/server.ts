/**
 * The gRPC server on a unix socket: every service of the daemon, each call observed, logged and cancellable.
 *
 * Stopping: no new connection and no new call (Unavailable); streams end at once; other calls may finish within the
 * grace time and are cancelled after it; then the connections are closed.
 */
import { Server as Http2GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { CairnError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { RunningCalls } from './calls.ts';
import type { Service } from './handlers.ts';
import { listenOnUnixSocket, unixSocketPath } from './unix-socket.ts';

/** What CRI clients allow for an answer; requests are far smaller, but nothing says so. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;
/** Calls at a time on one connection; the kubelet uses tens. */
const STREAMS_MAX = 1000;
const GRACE_MS = 10_000;
/** How long cancelled calls may take to answer. */
const CANCEL_MS = 2_000;
/** How long answers that are written may take to leave. */
const FLUSH_MS = 1_000;

export interface GrpcServerOptions {
  /** `unix:///path`. */
  readonly listen: string;
  readonly services: readonly Service[];
  readonly log: Logger;
  /** How long calls may go on after `stop`. */
  readonly graceMs?: number;
}

export interface GrpcServer extends AsyncDisposable {
  readonly address: string;
  /** Ends the server as described above; safe to repeat. Disposing does the same. */
  stop(): Promise<void>;
}

/** Resolves when the socket takes connections. */
export async function createGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const path = unixSocketPath(options.listen);
  const log = options.log.child({ module: 'rpc' });
  const calls = new RunningCalls(log);
  const grpc = new Http2GrpcServer({
    'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': STREAMS_MAX,
    'grpc.enable_channelz': 0,
  });
  for (const service of options.services) {
    for (const { method, handler } of service.methods) calls.register(grpc, method, handler, service.subject);
  }
  // Our own listener, so that the socket's name, rights and end are ours.
  const connections = grpc.createConnectionInjector(ServerCredentials.createInsecure());
  const listener = await listenOnUnixSocket(path, (socket) => connections.injectConnection(socket));
  log.info({ listen: options.listen }, 'serving');

  let stopped: Promise<void> | undefined;
  const stop = async () => {
    listener.close();
    const reason = new CairnError('Unavailable', 'cairnd is stopping', { step: 'rpc.stop' });
    calls.refuse(reason);
    calls.cancelStreams(reason);
    const unfinished = await calls.settled(options.graceMs ?? GRACE_MS);
    if (unfinished.length > 0) {
      log.warn({ calls: unfinished }, 'cancelling calls that did not finish in time');
      calls.cancelAll(reason);
      const stuck = await calls.settled(CANCEL_MS);
      if (stuck.length > 0) log.error({ calls: stuck }, 'leaving calls behind that do not react to their cancellation');
    }
    const closed = new Promise<void>((resolve) => grpc.tryShutdown(() => resolve()));
    let timer: NodeJS.Timeout | undefined;
    await Promise.race([closed, new Promise((resolve) => (timer = setTimeout(resolve, FLUSH_MS)))]);
    clearTimeout(timer);
    grpc.forceShutdown();
  };
  return {
    address: options.listen,
    stop: () => (stopped ??= stop()),
    [Symbol.asyncDispose]: () => (stopped ??= stop()),
  };
}
