import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createHostDirectory } from '../../../src/registry/hosts.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cairn-certs-d-'));
});
afterEach(async () => rm(directory, { recursive: true, force: true }));

async function put(path: string, text: string): Promise<void> {
  await mkdir(dirname(join(directory, path)), { recursive: true });
  await writeFile(join(directory, path), text);
}

async function addresses(registry: string): Promise<string[]> {
  const hosts = await createHostDirectory(directory).hostsFor(registry);
  return hosts.map((host) => host.origin + host.path);
}

describe('the hosts of a registry', () => {
  test('without files are the registry itself, docker.io at its real host', async () => {
    expect(await addresses('docker.io')).toEqual(['https://registry-1.docker.io/v2']);
    expect(await addresses('quay.example:5000')).toEqual(['https://quay.example:5000/v2']);
    const [host] = await createHostDirectory(join(directory, 'missing')).hostsFor('docker.io');
    expect(host).toMatchObject({ isServer: true, isProxy: false, plainFallback: false, tls: { skipVerify: false } });
  });

  test.each(['localhost:5000', '127.0.0.1:5000', '127.9.9.9:1', '[::1]:5000'])(
    '%s may speak plain HTTP',
    async (name) => {
      const [host] = await createHostDirectory(directory).hostsFor(name);
      expect(host).toMatchObject({ origin: `https://${name}`, plainFallback: true, tls: { skipVerify: true } });
    },
  );

  test.each(['localhost', 'localhost:443', '128.0.0.1:5000', 'localhost.example:5000'])('%s may not', async (name) => {
    const [host] = await createHostDirectory(directory).hostsFor(name);
    expect(host?.plainFallback).toBe(false);
  });

  test('are mirrors in the order of the file, then the server; paths end in /v2 unless overridden', async () => {
    await put(
      'docker.io/hosts.toml',
      '[host."http://z.example/proxy/"]\n[host."https://a.example:8443/v2"]\n' +
        '[host."https://m.example/x"]\noverride_path = true\n[host."https://registry-1.docker.io"]\n',
    );
    expect(await addresses('docker.io')).toEqual([
      'http://z.example/proxy/v2',
      'https://a.example:8443/v2',
      'https://m.example/x',
      'https://registry-1.docker.io/v2',
      'https://registry-1.docker.io/v2',
    ]);
    const hosts = await createHostDirectory(directory).hostsFor('docker.io');
    expect(hosts.map((host) => host.isProxy)).toEqual([true, true, true, false, false]);
    expect(hosts.map((host) => host.isServer)).toEqual([false, false, false, false, true]);
  });

  test('come from HOST_PORT_, else HOST:PORT, else _default', async () => {
    await put('_default/hosts.toml', 'server = "https://default.example"');
    expect(await addresses('r.example:5000')).toEqual(['https://default.example/v2']);
    await put('r.example:5000/hosts.toml', 'server = "https://colon.example"');
    expect(await addresses('r.example:5000')).toEqual(['https://colon.example/v2']);
    await put('r.example_5000_/hosts.toml', 'server = "https://underscore.example"');
    expect(await addresses('r.example:5000')).toEqual(['https://underscore.example/v2']);
    expect(await addresses('r.example')).toEqual(['https://default.example/v2']);
  });

  test('follow an edit at once, of the same length too', async () => {
    const hosts = createHostDirectory(directory);
    await put('_default/hosts.toml', 'server = "https://a.example"');
    expect((await hosts.hostsFor('x.example'))[0]?.authority).toBe('a.example');
    await put('_default/hosts.toml', 'server = "https://b.example"');
    expect((await hosts.hostsFor('x.example'))[0]?.authority).toBe('b.example');
    await rm(join(directory, '_default'), { recursive: true });
    expect((await hosts.hostsFor('x.example'))[0]?.authority).toBe('x.example');
  });

  test('take PEM files relative to their own directory, and a missing one is an error that names the line', async () => {
    await put('r.example/hosts.toml', '\n[host."https://m.example"]\nca = "ca.pem"\nclient = [["c.pem", "k.pem"]]\n');
    await expect(addresses('r.example')).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: expect.stringMatching(/r\.example\/hosts\.toml:2: .*\/r\.example\/\w+\.pem: can't be read: ENOENT/),
    });
    for (const name of ['ca', 'c', 'k']) await put(`r.example/${name}.pem`, `PEM ${name}`);
    const [mirror] = await createHostDirectory(directory).hostsFor('r.example');
    expect(mirror?.tls).toMatchObject({
      authorities: ['PEM ca'],
      clients: [{ certificate: 'PEM c', key: 'PEM k' }],
    });
  });

  test("may be described by Docker's certificate files alone", async () => {
    await put('r.example/ca.crt', 'PEM ca');
    await put('r.example/client.cert', 'PEM c');
    await put('r.example/client.key', 'PEM k');
    const [host] = await createHostDirectory(directory).hostsFor('r.example');
    expect(host).toMatchObject({
      origin: 'https://r.example',
      tls: { authorities: ['PEM ca'], clients: [{ certificate: 'PEM c', key: 'PEM k' }], skipVerify: false },
    });
  });
});
