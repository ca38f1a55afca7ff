/** HTTP's part of the matter: choosing a protocol, and the answers that are written on the bare socket. */
import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';

export const STREAM_PROTOCOL_HEADER = 'x-stream-protocol-version';

/** All values of a header that may come several times or as a list. */
export function listHeader(request: IncomingMessage, name: string): string[] {
  return (request.headersDistinct[name] ?? []).flatMap((line) => line.split(',')).map((value) => value.trim());
}

/** The first of the client's choices that we have. `undefined` when there is none; '' when it named none. */
export function negotiate(offered: readonly string[], supported: readonly string[]): string | undefined {
  const named = offered.filter(Boolean);
  return named.length === 0 ? '' : named.find((protocol) => supported.includes(protocol));
}

/** 101; the headers end the HTTP part. */
export function switchToSpdy(socket: Duplex, protocol: string): void {
  const chosen = protocol === '' ? '' : `X-Stream-Protocol-Version: ${protocol}\r\n`;
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n${chosen}\r\n`);
}

export interface Refusal {
  readonly status: number;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export function refuseProtocols(offered: readonly string[], supported: readonly string[]): Refusal {
  return {
    status: 403,
    message: `unable to upgrade: the client speaks ${offered.join(', ')}, the server ${supported.join(', ')}`,
    headers: { 'X-Accepted-Stream-Protocol-Versions': supported.join(', ') },
  };
}

/** Answers an upgrade with an error and closes. */
export function refuse(socket: Duplex, { status, message, headers = {} }: Refusal): void {
  const body = `${message}\n`;
  const lines = Object.entries({
    ...{ Connection: 'close', 'Content-Type': 'text/plain', 'Content-Length': String(Buffer.byteLength(body)) },
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  // A client may have hung up by now; that is its affair.
  socket.on('error', () => {});
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n${body}`);
}
