/** The client against servers that redirect, throttle, stall, break off, lie and ask for tokens. All real HTTP. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { digestOf } from '../../../src/base/digest.ts';
import { createRegistryClient, parseReference, type RegistryClientOptions } from '../../../src/registry/index.ts';
import { makeImage } from '../../fixtures/image-maker.ts';
import { basicHeader } from '../../fixtures/registry.ts';
import { MemorySink } from './memory-sink.ts';
import { type Answer, json, type MisbehavingServer, serve } from './misbehaving-server.ts';

const image = makeImage();
const blob = Buffer.alloc(1_000_000, 'a cairn is a heap of stones ');
const descriptor = { mediaType: 'application/octet-stream', digest: digestOf(blob), sizeBytes: blob.length };
const password = 'p4ssw0rd-never-shown';

let directory: string;
let owned: AsyncDisposable[] = [];
let logged: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cairn-misbehaviour-'));
  logged = '';
});
afterEach(async () => {
  for (const one of owned.reverse()) await one[Symbol.asyncDispose]();
  owned = [];
  await rm(directory, { recursive: true, force: true });
  expect(logged).not.toContain(password);
});

async function start(answer: Answer, address?: string): Promise<MisbehavingServer> {
  const server = await serve(answer, address);
  owned.push(server);
  return server;
}

function makeClient(options: Partial<RegistryClientOptions> = {}) {
  const sink = {
    write: (line: string) => {
      logged += line;
    },
  };
  const client = createRegistryClient({
    configPath: directory,
    log: pino({ level: 'trace' }, sink),
    userAgent: 'cairn-test',
    environment: {},
    ...options,
    limits: { baseMs: 5, delayMsMax: 20, headersTimeoutMs: 1_000, stallTimeoutMs: 300, ...options.limits },
  });
  owned.push(client);
  return client;
}

/** Makes `server` what every name is asked at. */
async function useAsServer(server: MisbehavingServer, more = ''): Promise<void> {
  await mkdir(join(directory, '_default'), { recursive: true });
  await writeFile(join(directory, '_default', 'hosts.toml'), `server = "${server.url}"\n${more}`);
}

const reference = parseReference('registry.example/team/app:v1');
const manifest: Answer = (_request, response) => {
  response.writeHead(200, { 'content-type': image.manifest.mediaType }).end(image.manifest.bytes);
};
const fetchTag = (client = makeClient(), signal?: AbortSignal) =>
  client.fetchManifest(reference, { ...(signal && { signal }), credentials: { username: 'alice', password } });

describe('redirects', () => {
  test('are followed, and leave authorization and configured headers behind at another origin', async () => {
    const storage = await start(manifest);
    const registry = await start((request, response) => {
      if (!request.headers.authorization) return json(response, 401, {}, { 'www-authenticate': 'Basic realm="r"' });
      if (request.url.includes('moved'))
        return void response.writeHead(307, { location: `${storage.url}/data?sig=x` }).end();
      return void response.writeHead(302, { location: '/moved' }).end();
    });
    await useAsServer(registry, '[header]\nx-secret = "configured"\n');
    expect((await fetchTag()).descriptor.digest).toBe(image.digest);
    expect(registry.seen.at(-1)?.headers).toMatchObject({
      'x-secret': 'configured',
      authorization: basicHeader('alice', password),
    });
    expect(storage.seen[0]?.headers).toMatchObject({ 'user-agent': 'cairn-test' });
    expect(storage.seen[0]?.headers).not.toHaveProperty('authorization');
    expect(storage.seen[0]?.headers).not.toHaveProperty('x-secret');
  });

  test('that never end are given up after ten', async () => {
    const registry = await start((_request, response) => void response.writeHead(302, { location: '/again' }).end());
    await useAsServer(registry);
    await expect(fetchTag()).rejects.toMatchObject({
      kind: 'Unknown',
      message: expect.stringContaining('more than 10 redirects'),
    });
    expect(registry.seen.length).toBe(11);
  });

  test('to a host that challenges do not give it credentials, nor its token server', async () => {
    for (const scheme of ['Basic', 'Bearer']) {
      const thief: MisbehavingServer = await start((_request, response) =>
        json(response, 401, {}, { 'www-authenticate': `${scheme} realm="${thief.url}/token"` }),
      );
      const registry = await start((_request, response) => void response.writeHead(302, { location: thief.url }).end());
      await useAsServer(registry);
      await expect(fetchTag()).rejects.toMatchObject({
        kind: 'Unauthenticated',
        message: expect.stringContaining(thief.url),
      });
      expect(thief.seen.map(({ url, headers }) => [url, headers.authorization])).toEqual([['/', undefined]]);
    }
  });

  test('to something that is no http address are refused', async () => {
    await useAsServer(
      await start((_request, response) => void response.writeHead(302, { location: 'file:///etc/passwd' }).end()),
    );
    await expect(fetchTag()).rejects.toMatchObject({ message: expect.stringContaining('no http or https address') });
  });
});

describe('retries', () => {
  test('answer 429 after the time that Retry-After asks for', async () => {
    const registry = await start((request, response, count) => {
      if (count === 1) return json(response, 429, {}, { 'retry-after': '1' });
      return manifest(request, response, count);
    });
    await useAsServer(registry);
    const startedAt = performance.now();
    await fetchTag();
    expect(performance.now() - startedAt).toBeGreaterThan(950);
  });

  test('do not wait for a Retry-After beyond the limit', async () => {
    const busy = { errors: [{ code: 'TOOMANYREQUESTS', message: 'slow down' }] };
    const registry = await start((_request, response) => json(response, 429, busy, { 'retry-after': '3600' }));
    await useAsServer(registry);
    await expect(fetchTag()).rejects.toMatchObject({
      kind: 'Unknown',
      message: `RegistryUnavailable: registry.example/team/app:v1: ${registry.url}: answered 429: TOOMANYREQUESTS: slow down`,
    });
    expect(registry.seen.length).toBe(1);
  });

  test('answer 5xx and resets, and end', async () => {
    const registry = await start((request, response, count) => {
      if (count === 1) return json(response, 503, {});
      if (count === 2) return void response.destroy();
      return manifest(request, response, count);
    });
    await useAsServer(registry);
    expect((await fetchTag()).descriptor.digest).toBe(image.digest);
    expect(registry.seen.length).toBe(3);

    const broken = await start((_request, response) =>
      json(response, 500, { errors: [{ code: 'UNKNOWN', message: 'disk full' }] }),
    );
    await useAsServer(broken);
    await expect(fetchTag()).rejects.toMatchObject({
      message: expect.stringMatching(/^RegistryUnavailable: .*500: UNKNOWN: disk full/),
    });
    expect(broken.seen.length).toBe(5);
  });

  test('a deadline and a cancellation end every wait', async () => {
    const throttled = await start((_request, response) => json(response, 429, {}, { 'retry-after': '20' }));
    await useAsServer(throttled);
    const startedAt = performance.now();
    await expect(fetchTag(makeClient(), AbortSignal.timeout(200))).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    const silent = await start(() => undefined);
    await useAsServer(silent);
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 100);
    await expect(fetchTag(makeClient(), controller.signal)).rejects.toMatchObject({ kind: 'Cancelled' });
    expect(performance.now() - startedAt).toBeLessThan(900);
  });

  test('a registry that accepts and says nothing is RegistryUnavailable after the headers timeout', async () => {
    await useAsServer(await start(() => undefined));
    const asking = fetchTag(makeClient({ limits: { headersTimeoutMs: 200, triesMax: 2 } }));
    await expect(asking).rejects.toMatchObject({
      message: expect.stringMatching(/^RegistryUnavailable: .*Headers Timeout/),
    });
  });

  test('a dead mirror is asked last for a while', async () => {
    const mirror = await start((_request, response) => json(response, 500, {}));
    const registry = await start(manifest);
    await useAsServer(registry, `[host."${mirror.url}"]\n`);
    const client = makeClient();
    await fetchTag(client);
    await fetchTag(client);
    expect(mirror.seen.length).toBe(2);
    expect(mirror.seen[0]?.url).toBe('/v2/team/app/manifests/v1?ns=registry.example');
    expect(mirror.seen.every((request) => request.headers.authorization === undefined)).toBe(true);
  });
});

describe('blobs', () => {
  /** Serves `blob` with ranges, but only `bytes` of it on each connection. */
  const inPieces =
    (bytes: number): Answer =>
    (request, response) => {
      const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
      const headers = {
        'content-length': blob.length - from,
        'content-range': `bytes ${from}-${blob.length - 1}/${blob.length}`,
      };
      response.writeHead(from > 0 ? 206 : 200, headers);
      response.write(blob.subarray(from, from + bytes), () => setTimeout(() => response.destroy(), 10));
    };

  test('go on where they broke off, as often as needed while there is progress', async () => {
    const registry = await start(inPieces(100_000));
    await useAsServer(registry);
    const sink = new MemorySink();
    await makeClient({ limits: { resumesMax: 2 } }).fetchBlob(reference, descriptor, sink, {});
    expect(sink.bytes().equals(blob)).toBe(true);
    expect(sink.restarts).toBe(0);
    expect(registry.seen.length).toBeGreaterThanOrEqual(10);
  });

  test('are given up when they get on by a few bytes only', async () => {
    const registry = await start(inPieces(10));
    await useAsServer(registry);
    const fetching = makeClient({ limits: { resumesMax: 2 } }).fetchBlob(reference, descriptor, new MemorySink(), {});
    await expect(fetching).rejects.toMatchObject({
      kind: 'Unknown',
      message: expect.stringMatching(/^RegistryUnavailable: blob sha256:/),
    });
    expect(registry.seen.length).toBe(3);
  });

  test('start over when the server ignores the range', async () => {
    const registry = await start((_request, response, count) => {
      if (count === 1) {
        response.writeHead(200, { 'content-length': blob.length });
        return void response.write(blob.subarray(0, 500_000), () => setTimeout(() => response.destroy(), 10));
      }
      return void response.writeHead(200, { 'content-length': blob.length }).end(blob);
    });
    await useAsServer(registry);
    const sink = new MemorySink();
    await makeClient().fetchBlob(reference, descriptor, sink, {});
    expect(sink.bytes().equals(blob)).toBe(true);
    expect(sink.restarts).toBe(1);
    expect(registry.seen[1]?.headers.range).toMatch(/^bytes=[1-9]\d+-$/);
  });

  test('that stall are taken up again', async () => {
    const registry = await start((request, response, count) => {
      if (count > 1) return inPieces(blob.length)(request, response, count);
      return void response.writeHead(200, { 'content-length': blob.length }).write(blob.subarray(0, 200_000));
    });
    await useAsServer(registry);
    const sink = new MemorySink();
    await makeClient().fetchBlob(reference, descriptor, sink, {});
    expect(sink.bytes().equals(blob)).toBe(true);
  });

  test('of another length are DataLoss, and no byte too many is passed on', async () => {
    await useAsServer(await start((_request, response) => void response.end(Buffer.concat([blob, blob]))));
    const told = makeClient().fetchBlob(reference, descriptor, new MemorySink(), {});
    await expect(told).rejects.toMatchObject({ kind: 'DataLoss', message: expect.stringContaining(descriptor.digest) });

    await useAsServer(await start((_request, response) => void response.end(blob.subarray(1))));
    const short = makeClient().fetchBlob(reference, descriptor, new MemorySink(), {});
    await expect(short).rejects.toMatchObject({
      kind: 'DataLoss',
      message: expect.stringContaining(descriptor.digest),
    });

    await useAsServer(
      await start((_request, response) => {
        response.write(blob);
        response.end(blob);
      }),
    );
    const sink = new MemorySink();
    const untold = makeClient().fetchBlob(reference, descriptor, sink, {});
    await expect(untold).rejects.toMatchObject({
      kind: 'DataLoss',
      message: expect.stringContaining(descriptor.digest),
    });
    expect(sink.offset).toBeLessThanOrEqual(blob.length);
  });

  test("a sink's own failure is passed on and ends the download", async () => {
    const registry = await start((_request, response) => void response.writeHead(200).end(blob));
    await useAsServer(registry);
    const full = new MemorySink();
    full.append = async () => Promise.reject(new RangeError('disk full'));
    await expect(makeClient().fetchBlob(reference, descriptor, full, {})).rejects.toThrow('disk full');
    expect(registry.seen.length).toBe(1);
  });

  test('are cancelled in the middle', async () => {
    await useAsServer(await start((_request, response) => void response.writeHead(200).write(blob.subarray(0, 1000))));
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 100);
    const options = { signal: controller.signal };
    const fetching = makeClient({ limits: { stallTimeoutMs: 5_000 } }).fetchBlob(
      reference,
      descriptor,
      new MemorySink(),
      options,
    );
    await expect(fetching).rejects.toMatchObject({ kind: 'Cancelled' });
  });
});

describe('manifests', () => {
  const byDigest = parseReference(`registry.example/team/app@${image.digest}`);

  test('that are not what was asked for are DataLoss naming the digest; another host may have the right one', async () => {
    const liar = await start((_request, response) => {
      response.writeHead(200, { 'content-type': image.manifest.mediaType }).end(`${image.manifest.bytes} `);
    });
    await useAsServer(liar);
    const client = makeClient();
    const fetching = client.fetchManifest(byDigest, {});
    await expect(fetching).rejects.toMatchObject({ kind: 'DataLoss', message: expect.stringContaining(image.digest) });
    await useAsServer(await start(manifest), `[host."${liar.url}"]\n`);
    expect((await client.fetchManifest(byDigest, {})).descriptor.digest).toBe(image.digest);
  });

  test('larger than 8 MiB are refused, announced or not', async () => {
    const big = Buffer.alloc(8 * 1024 * 1024 + 1, ' ');
    for (const headers of [{ 'content-length': String(big.length) }, { 'x-none': '' }]) {
      await useAsServer(await start((_request, response) => void response.writeHead(200, headers).end(big)));
      await expect(fetchTag()).rejects.toMatchObject({ kind: 'ResourceExhausted' });
    }
  });

  test('of schema 1 and pages of HTML are refused in words', async () => {
    const old = { schemaVersion: 1, name: 'x', fsLayers: [] };
    await useAsServer(await start((_request, response) => json(response, 200, old)));
    await expect(fetchTag()).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: expect.stringContaining('schema 1'),
    });
    await useAsServer(
      await start((_request, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<p>')),
    );
    await expect(fetchTag()).rejects.toMatchObject({
      message: expect.stringContaining('sent no manifest, but "text/html"'),
    });
  });
});

describe('bearer tokens', () => {
  interface TokenServer {
    readonly registry: MisbehavingServer;
    readonly tokens: MisbehavingServer;
  }

  /** A registry that takes `token-N` for the newest N, and the token server that gives them to alice. */
  async function startTokenServer(lifetimeSeconds = 300): Promise<TokenServer> {
    let newest = 0;
    const tokens = await start((request, response) => {
      const refresh = new URLSearchParams(request.body).get('refresh_token');
      const isAlice = request.headers.authorization === basicHeader('alice', password) || refresh === password;
      if (!isAlice) return json(response, 401, { errors: [{ code: 'UNAUTHORIZED', message: 'who are you' }] });
      newest++;
      return json(response, 200, { access_token: `token-${newest}`, expires_in: lifetimeSeconds });
    });
    const registry = await start((request, response, count) => {
      if (request.headers.authorization === `Bearer token-${newest}` && newest > 0)
        return manifest(request, response, count);
      const challenge = `Bearer realm="${tokens.url}/token",service="the registry",scope="repository:team/app:pull"`;
      return json(
        response,
        401,
        { errors: [{ code: 'UNAUTHORIZED', message: 'no' }] },
        { 'www-authenticate': challenge },
      );
    });
    await useAsServer(registry);
    return { registry, tokens };
  }

  test('are fetched with service, scope and client ID, and used until they expire', async () => {
    const { registry, tokens } = await startTokenServer();
    const client = makeClient();
    await fetchTag(client);
    await fetchTag(client);
    expect(tokens.seen.length).toBe(1);
    const asked = new URL(tokens.seen[0]?.url ?? '', tokens.url).searchParams;
    expect(Object.fromEntries(asked)).toEqual({
      service: 'the registry',
      scope: 'repository:team/app:pull',
      client_id: 'cairn',
    });
    expect(registry.seen.map((request) => request.headers.authorization)).toEqual([
      undefined,
      'Bearer token-1',
      'Bearer token-1',
    ]);
  });

  test('are fetched again when they expire or are refused', async () => {
    const { tokens } = await startTokenServer(0.2);
    const client = makeClient();
    await fetchTag(client);
    await new Promise((resolve) => setTimeout(resolve, 250));
    await fetchTag(client);
    expect(tokens.seen.length).toBe(2);
    await fetchTag(makeClient());
    await fetchTag(client);
    expect(tokens.seen.length).toBe(4);
  });

  test('are fetched by POST for an identity token', async () => {
    const { tokens } = await startTokenServer();
    await makeClient().fetchManifest(reference, { credentials: { identityToken: password } });
    expect(tokens.seen[0]?.method).toBe('POST');
    expect(Object.fromEntries(new URLSearchParams(tokens.seen[0]?.body))).toEqual({
      grant_type: 'refresh_token',
      refresh_token: password,
      client_id: 'cairn',
      service: 'the registry',
      scope: 'repository:team/app:pull',
    });
  });

  test("of a caller are the caller's alone, and a refusal is in the token server's words", async () => {
    await startTokenServer();
    const client = makeClient();
    await fetchTag(client);
    const other = client.fetchManifest(reference, { credentials: { username: 'mallory', password } });
    await expect(other).rejects.toMatchObject({
      kind: 'Unauthenticated',
      message: expect.stringContaining('UNAUTHORIZED: who are you'),
    });
    await expect(client.fetchManifest(reference, {})).rejects.toMatchObject({ kind: 'Unauthenticated' });
  });

  test('are not passed on in a redirect of the token server, nor is a broken answer shown', async () => {
    const thief = await start((_request, response) => json(response, 200, { token: 'stolen' }));
    const tokens = await start((_request, response) => void response.writeHead(302, { location: thief.url }).end());
    const registry = await start((_request, response) =>
      json(response, 401, {}, { 'www-authenticate': `Bearer realm="${tokens.url}"` }),
    );
    await useAsServer(registry);
    await expect(fetchTag()).rejects.toMatchObject({ kind: 'Unauthenticated' });
    expect(thief.seen.map((request) => request.headers.authorization)).toEqual([undefined]);

    const chatty = await start((_request, response) => json(response, 200, { tokn: password }));
    const another = await start((_request, response) =>
      json(response, 401, {}, { 'www-authenticate': `Bearer realm="${chatty.url}"` }),
    );
    await useAsServer(another);
    await expect(fetchTag()).rejects.toMatchObject({ message: expect.stringContaining('without a usable token') });
    await expect(fetchTag()).rejects.toMatchObject({ message: expect.not.stringContaining(password) });
  });

  test('given by the caller are sent as they are', async () => {
    const registry = await start((request, response, count) => {
      if (request.headers.authorization) return manifest(request, response, count);
      return json(response, 401, {}, { 'www-authenticate': 'Bearer realm="http://127.0.0.1:1"' });
    });
    await useAsServer(registry);
    await makeClient().fetchManifest(reference, { credentials: { registryToken: 'given' } });
    expect(registry.seen.at(-1)?.headers.authorization).toBe('Bearer given');
  });
});

describe('proxies', () => {
  test('HTTP_PROXY forwards plain requests with its own password, and loopback goes direct', async () => {
    const proxy = await start((request, response, count) => {
      if (request.headers['proxy-authorization'] === basicHeader('p', 'q')) return manifest(request, response, count);
      return void response.writeHead(407).end();
    });
    await useAsServer({ ...proxy, url: 'http://registry.example' });
    const client = makeClient({ environment: { HTTP_PROXY: `http://p:q@${proxy.host}` } });
    expect((await fetchTag(client)).descriptor.digest).toBe(image.digest);
    expect(proxy.seen[0]).toMatchObject({ url: 'http://registry.example/v2/team/app/manifests/v1' });
    expect(proxy.seen[0]?.headers.host).toBe('registry.example');

    const refused = makeClient({ environment: { HTTP_PROXY: `http://${proxy.host}` } });
    await expect(fetchTag(refused)).rejects.toMatchObject({
      message: expect.stringMatching(/^RegistryUnavailable: .*407/),
    });

    const direct = await start(manifest);
    await useAsServer(direct);
    await fetchTag(client);
    expect(direct.seen[0]?.url).toMatch(/^\/v2\/team\/app\/manifests\/v1/);
  });
});
