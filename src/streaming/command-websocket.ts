/** Remote commands over WebSocket: channels 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize. */
import type { WebSocket } from 'ws';
import type { StreamRequest } from './index.ts';
import type { CommandClient } from './remote-command.ts';
import type { Session } from './session.ts';
import { statusText } from './status.ts';
import { WebSocketChannels } from './websocket-channels.ts';

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;

export const WEBSOCKET_COMMAND_PROTOCOLS = [
  ...['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io'],
  ...['v4.base64.channel.k8s.io', 'base64.channel.k8s.io'],
];

export function webSocketCommandClient(
  socket: WebSocket,
  protocol: string,
  request: StreamRequest,
  session: Session,
): CommandClient {
  const version = Number(/^v(\d)/.exec(protocol)?.[1] ?? 1);
  const codec = { base64: protocol.includes('base64'), closes: version >= 5 };
  const channels = new WebSocketChannels(socket, codec, session.active);
  void channels.ended.then(() => session.end('the client has gone'));
  // Old clients take the first message as the sign that the connection stands.
  channels.send(request.stdout ? STDOUT : request.stderr ? STDERR : ERROR, Buffer.alloc(0));
  return {
    stdin: request.stdin ? channels.reader(STDIN) : undefined,
    stdout: request.stdout ? channels.writer(STDOUT) : undefined,
    stderr: request.stderr ? channels.writer(STDERR) : undefined,
    resize: request.tty ? channels.reader(RESIZE) : undefined,
    async finish(status) {
      const text = statusText(status, version >= 4);
      if (text !== '') channels.send(ERROR, Buffer.from(text));
      await channels.close();
    },
  };
}
