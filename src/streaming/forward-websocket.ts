/**
 * Port-forward over WebSocket channels: for the n-th port of the request channel 2n carries data, 2n+1 errors; the first
 * message on each is the port as two bytes, little-endian. One connection a port, and its end is the end of all when no
 * other is left.
 */
import type { WebSocket } from 'ws';
import type { PortForwardRequest, StreamingServerOptions } from './index.ts';
import { forwardPort } from './port-forward.ts';
import type { Session } from './session.ts';
import { WebSocketChannels } from './websocket-channels.ts';

export const WEBSOCKET_FORWARD_PROTOCOLS = ['v4.channel.k8s.io', 'v4.base64.channel.k8s.io'];
/** A whole SPDY connection in binary messages. */
export const TUNNEL_PROTOCOL = 'SPDY/3.1+portforward.k8s.io';

export async function serveForwardWebSocket(
  socket: WebSocket,
  protocol: string,
  request: PortForwardRequest,
  pods: StreamingServerOptions['pods'],
  session: Session,
): Promise<void> {
  const channels = new WebSocketChannels(
    socket,
    { base64: protocol.includes('base64'), closes: false },
    session.active,
  );
  void channels.ended.then(() => session.end('the client has gone'));
  const { podSandboxId: podId, ports } = request;
  const forwards = ports.map(async (port, index) => {
    const bytes = Buffer.from([port & 0xff, port >> 8]);
    channels.send(2 * index, bytes);
    channels.send(2 * index + 1, bytes);
    const input = channels.reader(2 * index);
    const output = channels.writer(2 * index);
    const failure = await forwardPort({
      ...{ pods, podId, port, input, output },
      halfClose: false,
      signal: session.signal,
    });
    if (failure !== undefined) {
      session.log.debug({ pod: podId, port }, failure);
      channels.send(2 * index + 1, Buffer.from(failure));
    }
    input.resume();
  });
  await Promise.all(forwards);
  await channels.close();
}
