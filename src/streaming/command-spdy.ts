/**
 * Remote commands over SPDY: the client opens one stream for each of error, stdin, stdout, stderr and resize, named by the
 * header `streamType`. The versions differ in what the error stream says (v4: JSON) and in whether there is resizing (v3).
 */
import type { Duplex } from 'node:stream';
import { CairnError } from '../base/errors.ts';
import type { StreamRequest } from './index.ts';
import type { CommandClient } from './remote-command.ts';
import type { Session } from './session.ts';
import { SpdyConnection } from './spdy-connection.ts';
import type { SpdyStream } from './spdy-stream.ts';
import { statusText } from './status.ts';

/** Our order of preference does not matter: the client's first choice that is here is taken. */
export const SPDY_COMMAND_PROTOCOLS = ['v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'];

const STREAMS_MS_MAX = 30_000;
const STREAM_TYPES = ['error', 'stdin', 'stdout', 'stderr', 'resize'] as const;
type StreamType = (typeof STREAM_TYPES)[number];

/** Resolves when the client has opened all streams of its request. DeadlineExceeded when it takes too long. */
export async function spdyCommandClient(
  transport: Duplex,
  protocol: string,
  request: StreamRequest,
  session: Session,
): Promise<CommandClient> {
  const version = protocol === '' ? 1 : Number(/^v(\d)/.exec(protocol)?.[1] ?? 1);
  const expected = STREAM_TYPES.filter((type) => isExpected(type, version, request));
  const streams = new Map<StreamType, SpdyStream>();
  const complete = Promise.withResolvers<void>();
  const connection = new SpdyConnection(transport, {
    onActivity: session.active,
    onStream: (stream) => {
      const type = expected.find((name) => name === stream.headers.get('streamtype'));
      if (type === undefined || streams.has(type)) {
        // Not asked for in the request: nobody will ever read or write it.
        stream.destroy();
        return;
      }
      streams.set(type, stream);
      // Only we write to these.
      if (type !== 'stdin' && type !== 'resize') stream.resume();
      if (streams.size === expected.length) complete.resolve();
    },
  });
  void connection.ended.then(() => {
    session.end('the client has gone');
    complete.reject(session.signal.reason);
  });
  const timer = setTimeout(() => {
    const message = `the client did not open its streams (${expected.join(', ')}) within ${STREAMS_MS_MAX / 1000} s`;
    complete.reject(new CairnError('DeadlineExceeded', message, { step: 'streaming.spdy' }));
  }, STREAMS_MS_MAX);
  try {
    await complete.promise;
  } catch (error) {
    connection.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return {
    stdin: streams.get('stdin'),
    stdout: streams.get('stdout'),
    stderr: streams.get('stderr'),
    resize: streams.get('resize'),
    async finish(status) {
      const error = streams.get('error');
      const text = statusText(status, version >= 4);
      for (const stream of [streams.get('stdout'), streams.get('stderr')]) stream?.end();
      const written = new Promise<void>((resolve) => {
        error?.on('finish', resolve);
        error?.on('close', resolve);
      });
      if (text === '') error?.end();
      else error?.end(text);
      await written;
      await connection.close();
    },
  };
}

function isExpected(type: StreamType, version: number, request: StreamRequest): boolean {
  if (type === 'error') return true;
  return type === 'resize' ? request.tty && version >= 3 : request[type];
}
