/**
 * Exec, attach and port-forward through the kubelet's HTTP API. Of the protocols, the kubelet passes SPDY and WebSocket v4
 * on to cairnd as they come, and turns v5 into SPDY.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { KubeletWorld } from '../fixtures/kubelet-world.ts';
import { PlannedPods } from '../fixtures/planned-pods.ts';
import { SpdyClient } from '../fixtures/spdy-client.ts';
import { type CommandClient, echoDigests, openCommand, text, until } from '../fixtures/stream-clients.ts';

const TIMEOUT_MS = 90_000;
const MIB = 1 << 20;
const PROTOCOLS = ['spdy v4.channel.k8s.io', 'ws v4.channel.k8s.io', 'ws v5.channel.k8s.io'];
/** Clients that die. */
const PROVOKED = ['Error on socket receive'];

const pods = new PlannedPods();
let world: KubeletWorld;

beforeAll(async () => {
  world = await KubeletWorld.create();
  await pods.start(world);
  for (const name of [target, typed]) await world.ready(name);
}, TIMEOUT_MS);

afterAll(async () => {
  if (world) expect(await world.end(PROVOKED)).toEqual([]);
}, TIMEOUT_MS);

const target = pods.pod('target', (it) => ({
  containers: [it.container('main', 'i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.2; done')],
}));
const typed = pods.pod('typed', (it) => ({
  containers: [it.container('main', 'while read -r line; do echo heard $line; done', { stdin: true, tty: false })],
}));
const serving = pods.pod('serving', (it) => ({
  containers: [it.container('main', 'nc -ll -p 7000 -e cat')],
}));

interface Streams {
  readonly stdin?: boolean;
  readonly tty?: boolean;
}

/** The query's names are the kubelet's: input, output, error. */
function open(endpoint: string, pod: string, protocol: string, { stdin = false, tty = false }: Streams, command = '') {
  const wanted = { stdin, tty, stdout: true, stderr: !tty };
  const query = new URLSearchParams({
    output: '1',
    ...(stdin && { input: '1' }),
    ...(tty ? { tty: '1' } : { error: '1' }),
  });
  if (command !== '') for (const part of ['sh', '-c', command]) query.append('command', part);
  const url = `https://127.0.0.1:${world.kubelet.port}${world.kubelet.path(endpoint, pod, 'main')}?${query}`;
  return openCommand(url, protocol, wanted);
}

describe.each(PROTOCOLS)('over %s', (protocol) => {
  test(
    'exec keeps the streams apart and tells the exit code',
    async () => {
      const client = await open('exec', target, protocol, {}, 'echo out; echo err >&2; exit 7');
      const [stdout, stderr, last] = await Promise.all([text(client.stdout), text(client.stderr), client.lastWord]);
      expect([stdout, stderr]).toEqual(['out\n', 'err\n']);
      expect(JSON.parse(last)).toMatchObject({
        status: 'Failure',
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: '7' }] },
      });
    },
    TIMEOUT_MS,
  );

  test(
    'exec carries 16 MiB there and back unchanged',
    async () => {
      const client = await open('exec', target, protocol, { stdin: true }, 'exec cat');
      const { sent, received } = await echoDigests(16 * MIB, (piece) => client.write(piece), client.stdout);
      expect(received).toBe(sent);
      client.die();
    },
    TIMEOUT_MS,
  );

  test(
    'exec has a terminal of the size that the client says',
    async () => {
      const client = await open('exec', target, protocol, { stdin: true, tty: true }, 'read x; stty size; exit 0');
      client.resize(123, 45);
      await sleep(500);
      await client.write('\n');
      expect(await until(client.stdout, '45 123')).toContain('45 123');
      expect(JSON.parse(await client.lastWord)).toMatchObject({ status: 'Success' });
    },
    TIMEOUT_MS,
  );

  test(
    'attach sees what the container writes from now on',
    async () => {
      const client = await open('attach', target, protocol, {});
      const seen = await until(client.stdout, 'tick');
      expect(seen).not.toContain('tick 0\n');
      client.die();
    },
    TIMEOUT_MS,
  );

  test(
    'attach gives the container its input',
    async () => {
      const client: CommandClient = await open('attach', typed, protocol, { stdin: true });
      await client.write('something\n');
      expect(await until(client.stdout, 'heard something\n')).toContain('heard something\n');
      client.die();
    },
    TIMEOUT_MS,
  );
});

test(
  'the input of half-closed clients ends',
  async () => {
    for (const protocol of ['spdy v4.channel.k8s.io', 'ws v5.channel.k8s.io']) {
      const client = await open('exec', target, protocol, { stdin: true }, 'wc -c');
      await client.write('12345');
      client.endInput();
      expect((await text(client.stdout)).trim()).toBe('5');
    }
  },
  TIMEOUT_MS,
);

test(
  'a client that dies leaves no process in the container',
  async () => {
    const client = await open('exec', target, 'spdy v4.channel.k8s.io', { stdin: true, tty: true }, 'exec sleep 4321');
    while (!(await world.exec(target, 'main', 'ps -o args')).includes('sleep 4321')) await sleep(100);
    client.die();
    while ((await world.exec(target, 'main', 'ps -o args')).includes('sleep 4321')) await sleep(100);
  },
  TIMEOUT_MS,
);

test(
  'port-forward reaches a server in the pod, 16 MiB unchanged, and says when a port is closed',
  async () => {
    await world.ready(serving);
    const url = `https://127.0.0.1:${world.kubelet.port}${world.kubelet.path('portForward', serving)}`;
    const client = await SpdyClient.connect(url, ['portforward.k8s.io']);
    const forward = async (port: number, requestID: string) => {
      const headers = { port: String(port), requestID };
      const error = await client.open({ streamType: 'error', ...headers });
      error.end();
      return { error, data: await client.open({ streamType: 'data', ...headers }) };
    };
    const good = await forward(7000, '1');
    const { sent, received } = await echoDigests(16 * MIB, (piece) => good.data.write(piece), good.data.output);
    expect(received).toBe(sent);
    const bad = await forward(7999, '2');
    expect(await text(bad.error.output)).toContain('7999');
    client.transport.destroy();
  },
  TIMEOUT_MS,
);
