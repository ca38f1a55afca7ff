import { execFileSync } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { silentLogger } from '../../../src/base/log.ts';
import { createStreamingServer, type StreamingServer } from '../../../src/streaming/index.ts';
import { podConfig } from '../../fixtures/pod-configs.ts';
import { shell, started } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';
import { SpdyClient } from '../../fixtures/spdy-client.ts';
import { echoDigests, openCommand, text, until } from '../../fixtures/stream-clients.ts';
import { processesNaming } from '../../fixtures/task-host.ts';

const ALL = { tty: false, stdin: true, stdout: true, stderr: true };
const OUTPUT = { ...ALL, stdin: false };
const TERMINAL = { tty: true, stdin: true, stdout: true, stderr: false };
const MIB = 1 << 20;
const CURRENT = ['spdy v4.channel.k8s.io', 'ws v5.channel.k8s.io'];
const WITH_STATUS = [...CURRENT, 'ws v4.channel.k8s.io', 'ws v4.base64.channel.k8s.io'];
const WITH_TEXT = [
  ...['spdy v3.channel.k8s.io', 'spdy v2.channel.k8s.io', 'spdy channel.k8s.io', 'spdy '],
  ...['ws channel.k8s.io', 'ws base64.channel.k8s.io', 'ws '],
];

let world: PodWorld;
let server: StreamingServer;
let podId: string;
let containerId: string;

async function serve(options: { idleTimeoutMs?: number; tokenLifetimeMs?: number } = {}): Promise<StreamingServer> {
  const { containers, pods } = world;
  return createStreamingServer({ address: '127.0.0.1:0', containers, pods, log: silentLogger, ...options });
}

beforeAll(async () => {
  world = await PodWorld.create();
  server = await serve();
  podId = (await world.pods.run(podConfig())).id;
  containerId = await started(world, podId, shell('sleep 1000'));
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

const execUrl = (command: readonly string[], wanted = ALL) => server.execUrl({ containerId, command, ...wanted });
const exec = (protocol: string, script: string, wanted = ALL) =>
  openCommand(execUrl(['sh', '-c', script], wanted), protocol, wanted);

async function gone(marker: string): Promise<void> {
  for (let tries = 0; tries < 200 && (await processesNaming(marker)).length > 0; tries++) await sleep(20);
  expect(await processesNaming(marker)).toEqual([]);
}

describe('exec', () => {
  test.each(WITH_STATUS)('over %s gives both streams and the exit code', async (protocol) => {
    const client = await exec(protocol, 'echo out; echo err >&2; exit 7', OUTPUT);
    const [out, err, word] = await Promise.all([text(client.stdout), text(client.stderr), client.lastWord]);
    expect([out, err]).toEqual(['out\n', 'err\n']);
    expect(JSON.parse(word)).toMatchObject({
      ...{ status: 'Failure', reason: 'NonZeroExitCode' },
      details: { causes: [{ reason: 'ExitCode', message: '7' }] },
    });
    await client.closed;
  });

  test.each(WITH_TEXT)('over %s gives both streams, and words on failure only', async (protocol) => {
    const client = await exec(protocol, 'echo out; echo err >&2; exit 7', OUTPUT);
    expect(await Promise.all([text(client.stdout), text(client.stderr)])).toEqual(['out\n', 'err\n']);
    expect(await client.lastWord).toBe('command terminated with exit code 7');
    const good = await exec(protocol, 'true', OUTPUT);
    expect(await good.lastWord).toBe('');
    await Promise.all([client.closed, good.closed]);
  });

  test.each(CURRENT)('over %s ends the input when the client does', async (protocol) => {
    const client = await exec(protocol, 'cat; echo end');
    await client.write('in\n');
    client.endInput();
    expect(await text(client.stdout)).toBe('in\nend\n');
    expect(JSON.parse(await client.lastWord)).toMatchObject({ status: 'Success' });
  });

  test.each(CURRENT)('over %s carries 64 MiB each way unchanged', async (protocol) => {
    const client = await exec(protocol, 'cat');
    const { sent, received } = await echoDigests(64 * MIB, (data) => client.write(data), client.stdout);
    expect(received).toBe(sent);
    client.endInput();
    expect(JSON.parse(await client.lastWord)).toMatchObject({ status: 'Success' });
  });

  test.each([...CURRENT, 'ws channel.k8s.io'])(
    'over %s has a terminal that follows the client’s size',
    async (protocol) => {
      const script = 'trap "stty size" WINCH; echo ready; read line; readlink /proc/self/fd/0; exit 3';
      const client = await exec(protocol, script, TERMINAL);
      await until(client.stdout, 'ready');
      client.resize(99, 37);
      await until(client.stdout, '37 99');
      await client.write('go\n');
      expect(await text(client.stdout)).toContain('/dev/pts/0');
      expect(await client.lastWord).toContain('3');
    },
  );

  test('says why a command can’t start', async () => {
    const client = await openCommand(execUrl(['no-such-command']), 'spdy v4.channel.k8s.io', ALL);
    expect(JSON.parse(await client.lastWord)).toMatchObject({
      ...{ status: 'Failure', reason: 'InternalError' },
      message: expect.stringContaining('"no-such-command": executable file not found in $PATH') as unknown,
    });
  });

  test('is what the container’s own process is, and knows its terminal', async () => {
    const client = await exec('spdy v4.channel.k8s.io', 'echo $TERM; id -u', TERMINAL);
    expect(await text(client.stdout)).toBe('xterm\r\n0\r\n');
  });
});

describe('a client that dies', () => {
  test.each(CURRENT)('over %s takes its command and all its descendants with it', async (protocol) => {
    const marker = `81${process.pid}`;
    for (const wanted of [ALL, TERMINAL]) {
      const client = await exec(protocol, `setsid sleep ${marker} & echo ready; sleep ${marker}`, wanted);
      await until(client.stdout, 'ready');
      client.die();
      await gone(marker);
    }
  });

  test.each(CURRENT)('over %s does so also with input in flight that nobody reads', async (protocol) => {
    const marker = `82${process.pid}`;
    const client = await exec(protocol, `echo ready; sleep ${marker}`);
    await until(client.stdout, 'ready');
    const stuck = (async () => {
      for (let count = 0; count < 512; count++) await client.write(Buffer.alloc(32 * 1024));
    })();
    await sleep(100);
    client.die();
    await Promise.race([stuck, sleep(0)]);
    await gone(marker);
  });

  test('before its streams are open leaves nothing', async () => {
    const client = await SpdyClient.connect(execUrl(['sleep', '1']), ['v4.channel.k8s.io']);
    await client.open({ streamType: 'error' });
    client.transport.destroy();
    await client.closed;
  });
});

describe('a client that does not read', () => {
  test.each(CURRENT)('over %s holds up its command, not the daemon’s memory', async (protocol) => {
    const client = await exec(protocol, 'exec dd if=/dev/zero bs=1M count=2000', OUTPUT);
    await until(client.stdout, '\0');
    client.pause();
    await sleep(100);
    const before = process.memoryUsage();
    await sleep(400);
    const after = process.memoryUsage();
    expect(after.rss - before.rss).toBeLessThan(16 * MIB);
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(4 * MIB);
    client.die();
  });
});

describe('a URL', () => {
  const PROTOCOLS = ['v4.channel.k8s.io'];

  test('is good for one connection', async () => {
    const url = execUrl(['true']);
    (await SpdyClient.connect(url, PROTOCOLS)).transport.destroy();
    await expect(SpdyClient.connect(url, PROTOCOLS)).rejects.toMatchObject({ status: 404 });
  });

  test('is good for its own purpose only, and for a while', async () => {
    await expect(SpdyClient.connect(execUrl(['true']).replace('/exec/', '/attach/'), PROTOCOLS)).rejects.toMatchObject({
      status: 404,
    });
    await using short = await serve({ tokenLifetimeMs: 50 });
    const url = short.execUrl({ containerId, command: ['true'], ...ALL });
    await sleep(60);
    await expect(SpdyClient.connect(url, PROTOCOLS)).rejects.toMatchObject({ status: 404 });
  });

  test('for which the client speaks no protocol of ours says what we speak', async () => {
    await expect(SpdyClient.connect(execUrl(['true']), ['v9.channel.k8s.io'])).rejects.toMatchObject({
      status: 403,
      headers: { 'x-accepted-stream-protocol-versions': expect.stringContaining('v4.channel.k8s.io') as unknown },
    });
  });

  test('is no page', async () => {
    const response = await fetch(execUrl(['true']));
    expect(response.status).toBe(400);
  });
});

describe('attach', () => {
  const SCRIPT = 'while read line; do echo "got $line"; echo err >&2; done';
  const attach = (id: string, protocol: string, wanted = ALL) =>
    openCommand(server.attachUrl({ containerId: id, ...wanted }), protocol, wanted);

  test.each(CURRENT)('over %s types into the container and sees what it writes from then on', async (protocol) => {
    const id = await started(world, podId, shell(SCRIPT, { stdin: true }));
    const [first, second] = [await attach(id, protocol), await attach(id, protocol)];
    await sleep(50);
    await first.write('one\n');
    await Promise.all([first, second].map((client) => until(client.stdout, 'got one\n')));
    await until(first.stderr, 'err\n');
    first.die();
    await second.write('two\n');
    await until(second.stdout, 'got two\n');
    second.die();
    await world.containers.remove(id);
  });

  test('to a terminal takes its size; the end of the container is its end', async () => {
    const id = await started(world, podId, shell('read line; stty size', { stdin: true, tty: true }));
    const client = await attach(id, 'spdy v4.channel.k8s.io', TERMINAL);
    client.resize(77, 33);
    await sleep(150);
    await client.write('go\n');
    expect(await text(client.stdout)).toContain('33 77');
    expect(JSON.parse(await client.lastWord)).toMatchObject({ status: 'Success' });
  });

  test('works again after the daemon was restarted', async () => {
    const id = await started(world, podId, shell(SCRIPT, { stdin: true }));
    const before = await attach(id, 'ws v5.channel.k8s.io');
    const marker = `83${process.pid}`;
    await exec('spdy v4.channel.k8s.io', `sleep ${marker}`);
    await sleep(50);
    await server[Symbol.asyncDispose]();
    await before.closed;
    await gone(marker);
    await world.restart();
    server = await serve();
    const after = await attach(id, 'ws v5.channel.k8s.io');
    await sleep(50);
    await after.write('new\n');
    await until(after.stdout, 'got new\n');
    after.die();
  });
});

test('a connection on which nothing moves is closed, and its command with it', async () => {
  await using impatient = await serve({ idleTimeoutMs: 300 });
  const marker = `84${process.pid}`;
  const url = impatient.execUrl({ containerId, command: ['sh', '-c', `cat; sleep ${marker}`], ...ALL });
  const client = await openCommand(url, 'spdy v4.channel.k8s.io', ALL);
  const startedAt = performance.now();
  for (let count = 0; count < 5; count++) {
    await client.write('x\n');
    await sleep(100);
  }
  await client.closed;
  expect(performance.now() - startedAt).toBeGreaterThan(700);
  await gone(marker);
});

test('TLS serves the same', async () => {
  const [key, cert] = [join(world.directory, 'key.pem'), join(world.directory, 'cert.pem')];
  const subject = ['-subj', '/CN=127.0.0.1', '-days', '1'];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-nodes',
      ...subject,
      '-keyout',
      key,
      '-out',
      cert,
    ],
    {
      stdio: 'ignore',
    },
  );
  const tls = { cert: await readFile(cert), key: await readFile(key) };
  const { containers, pods } = world;
  await using secure = await createStreamingServer({
    address: '127.0.0.1:0',
    tls,
    containers,
    pods,
    log: silentLogger,
  });
  expect(secure.baseUrl).toMatch(/^https:/);
  const marker = `85${process.pid}`;
  for (const protocol of CURRENT) {
    const request = { containerId, command: ['sh', '-c', `cat; sleep ${marker}`], ...ALL };
    const client = await openCommand(secure.execUrl(request), protocol, ALL);
    const { sent, received } = await echoDigests(MIB, (data) => client.write(data), client.stdout);
    expect(received).toBe(sent);
    client.die();
    await gone(marker);
  }
});

test('nothing stays open when all is over', async () => {
  const count = async () => (await readdir('/proc/self/fd')).length;
  const round = async () => {
    for (const protocol of CURRENT) {
      for (const wanted of [OUTPUT, TERMINAL]) {
        const client = await exec(protocol, 'echo done', wanted);
        await text(client.stdout);
        await client.closed;
      }
    }
    await sleep(100);
  };
  await round();
  const before = await count();
  await round();
  await round();
  expect(await count()).toBeLessThanOrEqual(before);
  const id = world.containers.get(containerId).id;
  const files = await readdir(join(world.state, 'tasks', id));
  expect(files.filter((name) => name.startsWith('exec'))).toEqual([]);
});
