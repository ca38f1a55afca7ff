/**
 * The streaming server: exec, attach and port-forward.
 *
 * A CRI call gets a URL with a one-time token; whoever opens it, over SPDY/3.1 or WebSocket, talks to the container. A
 * token is good for one minute and one connection. A client that goes away takes its command with it; an attachment and
 * a forwarded connection just end. Every buffer is bounded: a client that does not read holds up its own command, or is
 * cut off where waiting would hold up the container itself (attach).
 */

import type { Logger } from '../base/log.ts';
import type { ContainerService } from '../containers/index.ts';
import type { PodService } from '../pods/index.ts';

/** What of a process the client wants. With a terminal there is no stderr. */
export interface StreamRequest {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

export interface ExecRequest extends StreamRequest {
  readonly containerId: string;
  readonly command: readonly string[];
}

export interface AttachRequest extends StreamRequest {
  readonly containerId: string;
}

export interface PortForwardRequest {
  readonly podSandboxId: string;
  /** Only the WebSocket protocol with channels needs them; over SPDY the client names a port with each connection. */
  readonly ports: readonly number[];
}

/** Disposing ends every stream, kills the commands of execs and waits until all is cleaned up. */
export interface StreamingServer extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`. */
  readonly baseUrl: string;
  /** ResourceExhausted while a thousand URLs wait for their client. */
  execUrl(request: ExecRequest): string;
  attachUrl(request: AttachRequest): string;
  portForwardUrl(request: PortForwardRequest): string;
}

export interface StreamingServerOptions {
  /** HOST:PORT; port 0: any free one. Of a wildcard host the URLs name the loopback address. */
  readonly address: string;
  /** PEM. */
  readonly tls?: { readonly cert: string | Buffer; readonly key: string | Buffer };
  readonly containers: Pick<ContainerService, 'openExec' | 'attach'>;
  readonly pods: Pick<PodService, 'connect'>;
  /** A connection on which nothing moved for so long is closed. Default: 4 hours. */
  readonly idleTimeoutMs?: number;
  /** How long a URL is good. Default: one minute. */
  readonly tokenLifetimeMs?: number;
  readonly log: Logger;
}

export { createStreamingServer } from './server.ts';
