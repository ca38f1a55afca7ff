/** The client against Debian's docker-registry: names, digests, platforms, authentication, TLS, mirrors. */
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { digestOf, parseDigest } from '../../../src/base/digest.ts';
import { silentLogger } from '../../../src/base/log.ts';
import {
  createRegistryClient,
  parseIndex,
  parseManifest,
  parseReference,
  type RegistryClient,
  type RegistryClientOptions,
  selectPlatform,
} from '../../../src/registry/index.ts';
import { hostArchitecture, makeImage, makeIndex, makeLayer } from '../../fixtures/image-maker.ts';
import { basicHeader, startRegistry, type TestRegistry } from '../../fixtures/registry.ts';
import { MemorySink } from './memory-sink.ts';

const image = makeImage();
const dockerImage = makeImage({ docker: true });
const foreign = makeImage({ architecture: 's390x' });
const index = makeIndex([
  { image: foreign, platform: { os: 'linux', architecture: 's390x' } },
  { image, platform: { os: 'linux', architecture: hostArchitecture() } },
]);
const password = 'correct horse';

let plain: TestRegistry;
let secured: TestRegistry;
let directory: string;
let clients: RegistryClient[] = [];

beforeAll(async () => {
  [plain, secured] = await Promise.all([
    startRegistry(),
    startRegistry({ tls: true, basic: { username: 'alice', password } }),
  ]);
  await plain.push('library/app', image, 'v1');
  await plain.push('library/app', dockerImage, 'docker');
  await plain.push('library/app', index, 'multi');
  await secured.push('team/app', image, 'v1');
});

afterAll(async () => {
  await plain?.[Symbol.asyncDispose]();
  await secured?.[Symbol.asyncDispose]();
});

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cairn-registry-client-'));
});

afterEach(async () => {
  for (const client of clients) await client[Symbol.asyncDispose]();
  clients = [];
  await rm(directory, { recursive: true, force: true });
});

function makeClient(options: Partial<RegistryClientOptions> = {}): RegistryClient {
  const client = createRegistryClient({
    configPath: directory,
    log: silentLogger,
    userAgent: 'cairn-test',
    environment: { PATH: process.env['PATH'] },
    limits: { baseMs: 10, triesMax: 2 },
    ...options,
  });
  clients.push(client);
  return client;
}

async function hostsToml(host: string, text: string): Promise<string> {
  await mkdir(join(directory, host), { recursive: true });
  const path = join(directory, host, 'hosts.toml');
  await writeFile(path, text);
  return path;
}

describe('a plain registry on loopback', () => {
  test('serves a manifest by tag, and its bytes have the digest that is told', async () => {
    const fetched = await makeClient().fetchManifest(parseReference(`${plain.host}/library/app:v1`), {});
    expect(fetched.descriptor).toMatchObject({ digest: image.digest, mediaType: image.manifest.mediaType });
    expect(fetched.bytes.equals(image.manifest.bytes)).toBe(true);
    expect(fetched.servedBy).toBe(plain.host);
    const manifest = parseManifest(fetched.bytes, fetched.descriptor.mediaType);
    expect(manifest.config.digest).toBe(image.configDigest);
    expect(manifest.layers.map((layer) => layer.digest)).toEqual(image.layers.map((layer) => layer.digest));
  });

  test('serves a Docker schema 2 manifest, and a manifest by digest', async () => {
    const client = makeClient();
    const docker = await client.fetchManifest(parseReference(`${plain.host}/library/app:docker`), {});
    expect(docker.descriptor.mediaType).toBe('application/vnd.docker.distribution.manifest.v2+json');
    const byDigest = await client.fetchManifest(
      parseReference(`${plain.host}/library/app:v1@${dockerImage.digest}`),
      {},
    );
    expect(byDigest.bytes.equals(docker.bytes)).toBe(true);
  });

  test('resolves without fetching, and leads through an index to this platform', async () => {
    const client = makeClient();
    const reference = parseReference(`${plain.host}/library/app:multi`);
    const descriptor = await client.resolve(reference, {});
    expect(descriptor).toEqual({
      mediaType: index.manifest.mediaType,
      digest: index.digest,
      sizeBytes: index.manifest.bytes.length,
    });
    const fetched = await client.fetchManifest(reference, {});
    const parsed = parseIndex(fetched.bytes, fetched.descriptor.mediaType);
    expect(selectPlatform(parsed, { os: 'linux', architecture: hostArchitecture() }).digest).toBe(image.digest);
  });

  test('serves blobs whole and from an offset', async () => {
    const data = Buffer.alloc(300_000, 'cairn');
    const digest = parseDigest(await plain.pushBlob('library/app', data), 'digest');
    const descriptor = { mediaType: 'application/octet-stream', digest, sizeBytes: data.length };
    const client = makeClient();
    const reference = parseReference(`${plain.host}/library/app:v1`);
    const sink = new MemorySink();
    await client.fetchBlob(reference, descriptor, sink, {});
    expect(digestOf(sink.bytes())).toBe(digest);

    const resumed = new MemorySink(data.subarray(0, 123_456));
    await client.fetchBlob(reference, descriptor, resumed, {});
    expect(resumed.restarts).toBe(0);
    expect(digestOf(resumed.bytes())).toBe(digest);

    await using stream = await client.openBlob(reference, descriptor, 299_990, {});
    expect(stream.offset).toBe(299_990);
    const tail: Uint8Array[] = [];
    for await (const chunk of stream.chunks) tail.push(chunk);
    expect(Buffer.concat(tail).equals(data.subarray(299_990))).toBe(true);
  });

  test("an unknown tag is NotFound with the registry's words and the host that was asked", async () => {
    const client = makeClient();
    const asking = client.fetchManifest(parseReference(`${plain.host}/library/app:nope`), {});
    await expect(asking).rejects.toMatchObject({
      kind: 'NotFound',
      message: expect.stringMatching(
        new RegExp(`http://${plain.host}: answered 404: MANIFEST_UNKNOWN: manifest unknown`),
      ),
    });
    const resolving = client.resolve(parseReference(`${plain.host}/library/nothing:v1`), {});
    await expect(resolving).rejects.toMatchObject({
      kind: 'NotFound',
      message: expect.stringContaining('MANIFEST_UNKNOWN'),
    });
  });

  test('a registry that does not answer is RegistryUnavailable, naming its address', async () => {
    const asking = makeClient().fetchManifest(parseReference('127.0.0.1:1/library/app:v1'), {});
    await expect(asking).rejects.toMatchObject({
      kind: 'Unknown',
      message: expect.stringMatching(
        /^RegistryUnavailable: 127\.0\.0\.1:1\/library\/app:v1: .*ECONNREFUSED 127\.0\.0\.1:1/,
      ),
    });
  });
});

describe('a registry with TLS of its own CA and a password', () => {
  const reference = () => parseReference(`${secured.host}/team/app:v1`);
  const trusted = () =>
    hostsToml(secured.host.replace(/:(\d+)$/, '_$1_'), `server = "${secured.url}"\nca = "${secured.caPath}"\n`);
  const credentials = { username: 'alice', password };

  test('takes the credentials of the caller', async () => {
    await trusted();
    const fetched = await makeClient().fetchManifest(reference(), { credentials });
    expect(fetched.descriptor.digest).toBe(image.digest);
  });

  test('wrong and missing credentials are Unauthenticated in its own words, without the password', async () => {
    await trusted();
    const client = makeClient();
    const wrong = await client
      .fetchManifest(reference(), { credentials: { username: 'alice', password: 'hunter2' } })
      .catch((e) => e);
    expect(wrong).toMatchObject({ kind: 'Unauthenticated', message: expect.stringContaining('UNAUTHORIZED') });
    expect(JSON.stringify([wrong.message, wrong.stack, String(wrong.cause)])).not.toContain('hunter2');
    await expect(client.fetchManifest(reference(), {})).rejects.toMatchObject({ kind: 'Unauthenticated' });
  });

  test("a caller without credentials does not profit from another's", async () => {
    await trusted();
    const client = makeClient();
    await client.fetchManifest(reference(), { credentials });
    await expect(client.fetchManifest(reference(), {})).rejects.toMatchObject({ kind: 'Unauthenticated' });
  });

  test('is not trusted without its CA, and an edit of hosts.toml holds at once', async () => {
    const path = await hostsToml('_default', `server = "${secured.url}"\n`);
    const client = makeClient();
    const asking = client.fetchManifest(reference(), { credentials });
    await expect(asking).rejects.toMatchObject({
      message: expect.stringMatching(/^RegistryUnavailable: .*certificate/),
    });
    await writeFile(path, `server = "${secured.url}"\nskip_verify = true\n`);
    expect((await client.fetchManifest(reference(), { credentials })).descriptor.digest).toBe(image.digest);
    await writeFile(path, `server = "${secured.url}"\nskip_verfy = true\n`);
    await expect(client.fetchManifest(reference(), { credentials })).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: expect.stringMatching(`${path}:2: unknown key "skip_verfy"`),
    });
  });

  test("takes credentials from docker's config.json and from a credential helper", async () => {
    await trusted();
    const config = join(directory, 'config.json');
    const auth = Buffer.from(`alice:${password}`).toString('base64');
    await writeFile(config, JSON.stringify({ auths: { [`https://${secured.host}`]: { auth } } }));
    const client = makeClient({ dockerConfigPath: config });
    expect((await client.fetchManifest(reference(), {})).descriptor.digest).toBe(image.digest);

    const answer = JSON.stringify({ ServerURL: secured.host, Username: 'alice', Secret: password });
    const helper = `#!/bin/sh\nread -r host; echo "$1 $host" >> ${directory}/asked\nprintf '%s' '${answer}'\n`;
    await writeFile(join(directory, 'docker-credential-cairntest'), helper, { mode: 0o755 });
    await writeFile(config, JSON.stringify({ credHelpers: { [secured.host]: 'cairntest' } }));
    const helped = makeClient({ dockerConfigPath: config, environment: { PATH: `${directory}:/usr/bin:/bin` } });
    expect((await helped.fetchManifest(reference(), {})).descriptor.digest).toBe(image.digest);
    await helped.fetchManifest(reference(), {});
    // Asked once: what the registry took is remembered for a while.
    expect(await readFile(join(directory, 'asked'), 'utf8')).toBe(`get ${secured.host}\n`);

    const none = "echo 'credentials not found in native keychain'; exit 1";
    const failing = "echo 'the secret is hunter2'; exit 1";
    for (const [script, kind] of [
      [none, 'Unauthenticated'],
      [failing, 'FailedPrecondition'],
    ] as const) {
      await writeFile(join(directory, 'docker-credential-cairntest'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      const other = makeClient({ dockerConfigPath: config, environment: { PATH: `${directory}:/usr/bin:/bin` } });
      const failure = await other.fetchManifest(reference(), {}).catch((error) => error);
      expect(failure).toMatchObject({ kind, message: expect.not.stringContaining('hunter2') });
    }
  });

  test('that wants a client certificate gets the one that hosts.toml names, as do no others', async () => {
    await using mutual = await startRegistry({ tls: true, mutual: true });
    const name = parseReference(`${mutual.host}/team/app:v1`);
    const trust = `server = "${mutual.url}"\nca = "${mutual.caPath}"\n`;
    const path = await hostsToml('_default', trust);
    const client = makeClient();
    await expect(client.fetchManifest(name, {})).rejects.toMatchObject({
      message: expect.stringMatching(/^RegistryUnavailable: .*(certificate|socket|closed)/i),
    });
    const pair = `["${mutual.directory}/client.pem", "${mutual.directory}/client-key.pem"]`;
    await writeFile(path, `${trust}client = [${pair}]\n`);
    await expect(client.fetchManifest(name, {})).rejects.toMatchObject({ kind: 'NotFound' });
  });

  test('is reached through HTTPS_PROXY by a tunnel, its certificate checked', async () => {
    const asked: string[] = [];
    const proxy = createServer();
    proxy.on('connect', (request, socket) => {
      asked.push(`${request.url} ${request.headers['proxy-authorization']}`);
      const upstream = connect(Number(secured.host.split(':')[1]), '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        socket.pipe(upstream).pipe(socket);
      });
      for (const end of [socket, upstream]) end.on('error', () => undefined);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = proxy.address() as AddressInfo;
      const client = makeClient({ environment: { HTTPS_PROXY: `http://p:q@127.0.0.1:${port}` } });
      const name = parseReference('registry.example/team/app:v1');
      await expect(client.fetchManifest(name, { credentials })).rejects.toMatchObject({
        message: expect.stringContaining('certificate'),
      });
      await hostsToml('registry.example', `ca = "${secured.caPath}"\n`);
      expect((await client.fetchManifest(name, { credentials })).descriptor.digest).toBe(image.digest);
      expect(asked.at(-1)).toBe(`registry.example:443 ${basicHeader('p', 'q')}`);
      await client[Symbol.asyncDispose]();
    } finally {
      proxy.close();
    }
  });

  test('answers nobody once the client is disposed', async () => {
    await trusted();
    const client = makeClient();
    await client.fetchManifest(reference(), { credentials });
    await client[Symbol.asyncDispose]();
    await expect(client.fetchManifest(reference(), { credentials })).rejects.toMatchObject({ kind: 'Cancelled' });
  });
});

describe('mirrors', () => {
  test('a plain-HTTP mirror in _default serves every registry', async () => {
    await hostsToml('_default', `[host."${plain.url}"]\ncapabilities = ["pull", "resolve"]\n`);
    const client = makeClient();
    for (const name of ['app:v1', 'quay.example/library/app:v1', 'index.docker.io/app:v1']) {
      const fetched = await client.fetchManifest(parseReference(name), {});
      expect(fetched).toMatchObject({ servedBy: plain.host, descriptor: { digest: image.digest } });
    }
  });

  test('a dead mirror, one without the image and one that wants credentials are passed over', async () => {
    const ca = `ca = "${secured.caPath}"`;
    const mirrors = `[host."http://127.0.0.1:1"]\n[host."${secured.url}"]\n${ca}\n[host."${plain.url}"]\n`;
    await hostsToml('registry.example', `server = "http://127.0.0.1:2"\n${mirrors}`);
    const fetched = await makeClient().fetchManifest(parseReference('registry.example/library/app:v1'), {});
    expect(fetched.servedBy).toBe(plain.host);
  });

  test('when all fail, the registry itself decides the kind and all are named', async () => {
    const mirrors = '[host."http://127.0.0.1:1"]\n[host."http://127.0.0.1:2"]\n';
    await hostsToml('registry.example', `server = "${plain.url}"\n${mirrors}`);
    const client = makeClient();
    const failure = await client.fetchManifest(parseReference('registry.example/library/app:nope'), {}).catch((e) => e);
    expect(failure.kind).toBe('NotFound');
    for (const address of [plain.url, 'http://127.0.0.1:1', 'http://127.0.0.1:2'])
      expect(failure.message).toContain(address);

    await hostsToml('registry.example', `server = "http://127.0.0.1:3"\n[host."${plain.url}"]\n`);
    const unavailable = client.fetchManifest(parseReference('registry.example/library/app:nope'), {});
    await expect(unavailable).rejects.toMatchObject({
      kind: 'Unknown',
      message: expect.stringMatching(/^RegistryUnavailable: .*127\.0\.0\.1:3.*also asked: .*MANIFEST_UNKNOWN/),
    });
  });

  test('a mirror that may only pull is not asked what a tag means', async () => {
    const text = `server = "http://127.0.0.1:3"\n[host."${plain.url}"]\ncapabilities = ["pull"]\n`;
    await hostsToml('registry.example', text);
    const client = makeClient();
    const byTag = client.fetchManifest(parseReference('registry.example/library/app:v1'), {});
    await expect(byTag).rejects.toMatchObject({ message: expect.not.stringContaining(plain.host) });
    const byDigest = await client.fetchManifest(parseReference(`registry.example/library/app@${image.digest}`), {});
    expect(byDigest.servedBy).toBe(plain.host);
  });
});

test('a zstd layer goes through as it is', async () => {
  const layer = makeLayer([{ path: 'file', data: 'x' }], 'zstd');
  const other = makeImage({ layers: [layer] });
  await plain.push('library/zstd', other, 'v1');
  const client = makeClient();
  const reference = parseReference(`${plain.host}/library/zstd:v1`);
  const manifest = parseManifest((await client.fetchManifest(reference, {})).bytes, other.manifest.mediaType);
  const [first] = manifest.layers;
  const sink = new MemorySink();
  if (first) await client.fetchBlob(reference, first, sink, {});
  expect(sink.bytes().equals(layer.bytes)).toBe(true);
});
