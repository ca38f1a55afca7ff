/** The HTTP server: tokens, protocols, and one session for each client. */
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { CairnError, isCairnError, messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { openAttachment, openExec } from './command-requests.ts';
import { SPDY_COMMAND_PROTOCOLS, spdyCommandClient } from './command-spdy.ts';
import { WEBSOCKET_COMMAND_PROTOCOLS, webSocketCommandClient } from './command-websocket.ts';
import { SPDY_FORWARD_PROTOCOLS, serveForwardSpdy } from './forward-spdy.ts';
import { serveForwardWebSocket, TUNNEL_PROTOCOL, WEBSOCKET_FORWARD_PROTOCOLS } from './forward-websocket.ts';
import {
  listHeader,
  negotiate,
  type Refusal,
  refuse,
  refuseProtocols,
  STREAM_PROTOCOL_HEADER,
  switchToSpdy,
} from './handshake.ts';
import type {
  AttachRequest,
  ExecRequest,
  PortForwardRequest,
  StreamingServer,
  StreamingServerOptions,
} from './index.ts';
import { type CommandClient, runCommand } from './remote-command.ts';
import { Session } from './session.ts';
import { TokenTable } from './tokens.ts';

type Ticket =
  | { readonly kind: 'exec'; readonly request: ExecRequest }
  | { readonly kind: 'attach'; readonly request: AttachRequest }
  | { readonly kind: 'portforward'; readonly request: PortForwardRequest };

const IDLE_MS = 4 * 60 * 60 * 1000;
const CONNECTIONS_MAX = 1024;
const HEADERS_MS_MAX = 10_000;
/** A client may send what it has in one message. */
const MESSAGE_BYTES_MAX = 16 * 1024 * 1024;

export async function createStreamingServer(options: StreamingServerOptions): Promise<StreamingServer> {
  const server = new HttpStreamingServer(options);
  await server.listen();
  return server;
}

class HttpStreamingServer implements StreamingServer {
  readonly #options: StreamingServerOptions;
  readonly #log: Logger;
  readonly #tokens: TokenTable<Ticket>;
  readonly #server: Server;
  readonly #webSockets: WebSocketServer;
  readonly #sessions = new Map<Session, Promise<void>>();
  #baseUrl = '';

  constructor(options: StreamingServerOptions) {
    this.#options = options;
    this.#log = options.log.child({ module: 'streaming' });
    this.#tokens = new TokenTable(options.tokenLifetimeMs === undefined ? {} : { lifetimeMs: options.tokenLifetimeMs });
    const limits = { headersTimeout: HEADERS_MS_MAX, requestTimeout: HEADERS_MS_MAX, keepAliveTimeout: 1 };
    const plain: RequestListener = (_request, response) => {
      const text = 'only upgrades to SPDY/3.1 or WebSocket are served here\n';
      response.writeHead(400, { 'content-type': 'text/plain', connection: 'close' }).end(text);
    };
    this.#server = options.tls ? createTlsServer({ ...options.tls, ...limits }, plain) : createServer(limits, plain);
    this.#server.maxConnections = CONNECTIONS_MAX;
    // For TCP and TLS alike this is a net.Socket.
    this.#server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#accept(request, socket as Socket, head),
    );
    this.#webSockets = new WebSocketServer({
      ...{ noServer: true, clientTracking: false, perMessageDeflate: false, maxPayload: MESSAGE_BYTES_MAX },
    });
    this.#webSockets.on('headers', (headers, request: NegotiatedRequest) => {
      if (request.chosenProtocol) headers.push(`Sec-WebSocket-Protocol: ${request.chosenProtocol}`);
    });
  }

  get baseUrl(): string {
    return this.#baseUrl;
  }

  async listen(): Promise<void> {
    const { address, tls } = this.#options;
    const colon = address.lastIndexOf(':');
    const host = address.slice(0, colon).replace(/^\[|\]$/g, '');
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (cause) => {
        const message = `streaming.address ${address}: ${messageOf(cause)}`;
        reject(new CairnError('FailedPrecondition', message, { step: 'streaming.listen', cause }));
      });
      this.#server.listen({ host, port: Number(address.slice(colon + 1)) }, resolve);
    });
    const { port } = this.#server.address() as AddressInfo;
    this.#baseUrl = `${tls ? 'https' : 'http'}://${reachable(host)}:${port}`;
    this.#log.info({ url: this.#baseUrl }, 'serving exec, attach and port-forward');
  }

  execUrl(request: ExecRequest): string {
    return this.#url({ kind: 'exec', request });
  }

  attachUrl(request: AttachRequest): string {
    return this.#url({ kind: 'attach', request });
  }

  portForwardUrl(request: PortForwardRequest): string {
    return this.#url({ kind: 'portforward', request });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const session of this.#sessions.keys()) session.cut('the daemon stops');
    this.#server.closeAllConnections();
    await Promise.all(this.#sessions.values());
    await closed;
  }

  #url(ticket: Ticket): string {
    return `${this.#baseUrl}/${ticket.kind}/${this.#tokens.issue(ticket)}`;
  }

  #accept(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const [, kind, token = ''] = /^\/(exec|attach|portforward)\/([\w-]+)(?:\?|$)/.exec(request.url ?? '') ?? [];
    const ticket = this.#tokens.redeem(token);
    if (ticket === undefined || ticket.kind !== kind) {
      const message = 'this URL is not known: each is good for one connection within a minute';
      refuse(socket, { status: 404, message });
      return;
    }
    const plan = planFor(ticket, request);
    if ('status' in plan) {
      refuse(socket, plan);
      return;
    }
    const log = this.#log.child(
      ticket.kind === 'portforward'
        ? { pod: ticket.request.podSandboxId, stream: ticket.kind }
        : { container: ticket.request.containerId, stream: ticket.kind },
    );
    const session = new Session(socket, { idleTimeoutMs: this.#options.idleTimeoutMs ?? IDLE_MS, log });
    const served = this.#serve(ticket, plan, { request, socket, head }, session)
      .catch((error: unknown) => {
        if (isCairnError(error)) log.debug({ err: error }, `stream broken off: ${error.message}`);
        else log.error({ err: error }, 'stream failed');
      })
      .finally(() => {
        this.#sessions.delete(session);
        session[Symbol.dispose]();
        socket.destroy();
      });
    this.#sessions.set(session, served);
  }

  async #serve(ticket: Ticket, plan: Plan, upgrade: Upgrade, session: Session): Promise<void> {
    const { pods } = this.#options;
    if (plan.transport === 'spdy') {
      const { socket, head } = upgrade;
      if (head.length > 0) socket.unshift(head);
      switchToSpdy(socket, plan.protocol);
      if (ticket.kind === 'portforward') return await serveForwardSpdy(socket, ticket.request, pods, session);
      return await this.#command(
        ticket,
        await spdyCommandClient(socket, plan.protocol, ticket.request, session),
        session,
      );
    }
    const webSocket = await this.#upgradeToWebSocket(upgrade, plan.protocol);
    if (ticket.kind !== 'portforward') {
      return await this.#command(
        ticket,
        webSocketCommandClient(webSocket, plan.protocol, ticket.request, session),
        session,
      );
    }
    if (plan.protocol === TUNNEL_PROTOCOL) {
      return await serveForwardSpdy(createWebSocketStream(webSocket), ticket.request, pods, session);
    }
    return await serveForwardWebSocket(webSocket, plan.protocol, ticket.request, pods, session);
  }

  async #command(
    ticket: Exclude<Ticket, { kind: 'portforward' }>,
    client: CommandClient,
    session: Session,
  ): Promise<void> {
    const { containers } = this.#options;
    const verb = ticket.kind === 'exec' ? 'executing command in' : 'attaching to';
    await runCommand({
      what: `${verb} container ${ticket.request.containerId}`,
      ...{ client, signal: session.signal, log: session.log },
      open: (signal) =>
        ticket.kind === 'exec'
          ? openExec(containers, ticket.request, signal)
          : openAttachment(containers, ticket.request),
    });
  }

  #upgradeToWebSocket({ request, socket, head }: Upgrade, protocol: string): Promise<WebSocket> {
    const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
    // ws refuses a bad handshake itself and closes the socket.
    socket.once('close', () => reject(new CairnError('Cancelled', 'the WebSocket handshake failed')));
    const negotiated: NegotiatedRequest = Object.assign(request, { chosenProtocol: protocol });
    // It was read already; ws would refuse the slash in a name like SPDY/3.1+portforward.k8s.io.
    delete negotiated.headers['sec-websocket-protocol'];
    this.#webSockets.handleUpgrade(negotiated, socket, head, resolve);
    return promise;
  }
}

type NegotiatedRequest = IncomingMessage & { chosenProtocol?: string };

interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  readonly head: Buffer;
}

interface Plan {
  readonly transport: 'spdy' | 'websocket';
  /** Empty: the client named none, which means the oldest. */
  readonly protocol: string;
}

/** What the client and we both speak. */
function planFor(ticket: Ticket, request: IncomingMessage): Plan | Refusal {
  const isForward = ticket.kind === 'portforward';
  const upgrade = (request.headers.upgrade ?? '').toLowerCase();
  if (upgrade === 'spdy/3.1') {
    const supported = isForward ? SPDY_FORWARD_PROTOCOLS : SPDY_COMMAND_PROTOCOLS;
    const offered = listHeader(request, STREAM_PROTOCOL_HEADER);
    const protocol = negotiate(offered, supported);
    return protocol === undefined ? refuseProtocols(offered, supported) : { transport: 'spdy', protocol };
  }
  if (upgrade === 'websocket') {
    const supported = isForward ? [TUNNEL_PROTOCOL, ...WEBSOCKET_FORWARD_PROTOCOLS] : WEBSOCKET_COMMAND_PROTOCOLS;
    const offered = listHeader(request, 'sec-websocket-protocol');
    const protocol = negotiate(offered, supported);
    if (protocol === undefined) return refuseProtocols(offered, supported);
    if (isForward && protocol !== TUNNEL_PROTOCOL && ticket.request.ports.length === 0) {
      return { status: 400, message: 'port-forward over WebSocket channels needs ports in the request' };
    }
    return { transport: 'websocket', protocol };
  }
  return { status: 400, message: `unable to upgrade to ${request.headers.upgrade}: SPDY/3.1 or websocket` };
}

/** Where a client on this host finds a server that listens on `host`. */
function reachable(host: string): string {
  if (host === '' || host === '0.0.0.0') return '127.0.0.1';
  if (host === '::') return '[::1]';
  return host.includes(':') ? `[${host}]` : host;
}
