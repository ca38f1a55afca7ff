import { readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createWebSocketStream, WebSocket } from 'ws';
import { silentLogger } from '../../../src/base/log.ts';
import { createStreamingServer, type StreamingServer } from '../../../src/streaming/index.ts';
import { podConfig } from '../../fixtures/pod-configs.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';
import { echoServer } from '../../fixtures/port-server.ts';
import { type ClientStream, SpdyClient } from '../../fixtures/spdy-client.ts';
import { echoDigests, text } from '../../fixtures/stream-clients.ts';

const MIB = 1 << 20;
const TUNNEL_PROTOCOL = 'SPDY/3.1+portforward.k8s.io';
const PORT4 = 8080;
const PORT6 = 8086;
const NOBODY = 8099;

let world: PodWorld;
let server: StreamingServer;
let podId: string;
const servers: AsyncDisposable[] = [];

beforeAll(async () => {
  world = await PodWorld.create({ embeddedNetwork: true });
  const { containers, pods } = world;
  server = await createStreamingServer({ address: '127.0.0.1:0', containers, pods, log: silentLogger });
  const pod = await pods.run(podConfig({ namespaces: { network: 'pod', pid: 'container', ipc: 'pod' } }));
  podId = pod.id;
  servers.push(await echoServer(pod.namespaces.network ?? '', '127.0.0.1', PORT4));
  servers.push(await echoServer(pod.namespaces.network ?? '', '::1', PORT6));
});
afterAll(async () => {
  for (const each of servers) await each[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

const url = (ports: readonly number[] = []) => server.portForwardUrl({ podSandboxId: podId, ports });

/** A SPDY connection, straight or in a WebSocket. */
async function connect(kind: 'spdy' | 'tunnel'): Promise<SpdyClient> {
  if (kind === 'spdy') return SpdyClient.connect(url(), ['portforward.k8s.io']);
  let chosen: string | undefined;
  const socket = new WebSocket(url().replace(/^http/, 'ws'), {
    // ws would refuse the slash in the name, and an answer to what it has not asked.
    finishRequest: (request) => {
      request.setHeader('Sec-WebSocket-Protocol', TUNNEL_PROTOCOL);
      request.prependListener('upgrade', ({ headers }) => {
        chosen = headers['sec-websocket-protocol'];
        delete headers['sec-websocket-protocol'];
      });
      request.end();
    },
  });
  const stream = createWebSocketStream(socket);
  await new Promise((resolve) => socket.once('open', resolve));
  expect(chosen).toBe(TUNNEL_PROTOCOL);
  return new SpdyClient(stream);
}

let requests = 0;

async function forward(client: SpdyClient, port: number): Promise<{ data: ClientStream; error: ClientStream }> {
  const headers = { port: String(port), requestID: String(requests++) };
  const error = await client.open({ streamType: 'error', ...headers });
  error.end();
  const data = await client.open({ streamType: 'data', ...headers });
  return { data, error };
}

describe.each(['spdy', 'tunnel'] as const)('port-forward over %s', (kind) => {
  test('carries 64 MiB each way unchanged, and each direction ends for itself', async () => {
    const client = await connect(kind);
    const { data, error } = await forward(client, PORT4);
    const { sent, received } = await echoDigests(64 * MIB, (piece) => data.write(piece), data.output);
    expect(received).toBe(sent);
    data.end();
    expect(await text(data.output)).toBe('');
    expect(await text(error.output)).toBe('');
    client.transport.destroy();
  });

  test('serves many connections at once, by IPv4 and IPv6, on one client’s connection', async () => {
    const client = await connect(kind);
    const answers = Array.from({ length: 20 }, async (_, index) => {
      const { data } = await forward(client, index % 2 === 0 ? PORT4 : PORT6);
      await data.write(`hello ${index}`);
      data.end();
      return text(data.output);
    });
    expect(await Promise.all(answers)).toEqual(Array.from({ length: 20 }, (_, index) => `hello ${index}`));
    client.transport.destroy();
  });

  test('says what is wrong with a port on which nobody listens; the others go on', async () => {
    const client = await connect(kind);
    const good = await forward(client, PORT4);
    const bad = await forward(client, NOBODY);
    expect(await text(bad.error.output)).toContain(`127.0.0.1:${NOBODY}: ECONNREFUSED`);
    await bad.data.wasReset;
    await good.data.write('still here');
    good.data.end();
    expect(await text(good.data.output)).toBe('still here');
    client.transport.destroy();
  });

  test('a connection that its client resets is closed; streams that make no sense are refused', async () => {
    const client = await connect(kind);
    const { data, error } = await forward(client, PORT4);
    await data.write('x');
    data.reset();
    expect(await text(error.output)).toBe('');
    const odd = await client.open({ streamType: 'data', port: 'http' });
    await odd.wasReset;
    client.transport.destroy();
  });
});

test('a connection that nobody reads does not hold up the daemon, and ends with its client', async () => {
  const descriptors = async () => (await readdir('/proc/self/fd')).length;
  const before = await descriptors();
  const client = await connect('spdy');
  const { data } = await forward(client, PORT4);
  const writing = (async () => {
    for (let count = 0; count < 2000; count++) await data.write(Buffer.alloc(32 * 1024));
  })();
  client.transport.pause();
  await sleep(300);
  const memory = process.memoryUsage().rss;
  await sleep(300);
  expect(process.memoryUsage().rss - memory).toBeLessThan(16 * MIB);
  client.transport.destroy();
  await writing;
  for (let tries = 0; tries < 150 && (await descriptors()) > before; tries++) await sleep(20);
  expect(await descriptors()).toBeLessThanOrEqual(before);
});

describe('port-forward over WebSocket channels', () => {
  test.each(['v4.channel.k8s.io', 'v4.base64.channel.k8s.io'])('%s: a channel pair for each port', async (protocol) => {
    const base64 = protocol.includes('base64');
    const socket = new WebSocket(url([PORT4, NOBODY]).replace(/^http/, 'ws'), protocol);
    const seen = new Map<number, Buffer>();
    socket.on('message', (message: Buffer) => {
      const first = message[0] ?? 0;
      const channel = base64 ? first - 48 : first;
      const data = base64 ? Buffer.from(message.toString('latin1', 1), 'base64') : message.subarray(1);
      seen.set(channel, Buffer.concat([seen.get(channel) ?? Buffer.alloc(0), data]));
    });
    await new Promise((resolve) => socket.once('open', resolve));
    socket.send(base64 ? `0${Buffer.from('ping').toString('base64')}` : Buffer.from('\0ping'));
    const done = () => seen.get(0)?.toString('latin1', 2) === 'ping' && (seen.get(3)?.length ?? 0) > 2;
    for (let tries = 0; tries < 200 && !done(); tries++) await sleep(10);
    expect([seen.get(0), seen.get(1)]).toEqual([Buffer.from('\x90\x1fping', 'latin1'), Buffer.from([0x90, 0x1f])]);
    expect(seen.get(2)).toEqual(Buffer.from([NOBODY & 0xff, NOBODY >> 8]));
    expect(seen.get(3)?.toString('latin1', 2)).toContain('ECONNREFUSED');
    socket.terminate();
  });

  test('needs ports in the request', async () => {
    const socket = new WebSocket(url().replace(/^http/, 'ws'), 'v4.channel.k8s.io');
    await expect(new Promise((_resolve, reject) => socket.once('error', reject))).rejects.toThrow('400');
  });
});
