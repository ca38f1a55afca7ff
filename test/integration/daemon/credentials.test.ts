/** Credentials of a pull are for that pull: afterwards no file, log, metric or answer of the daemon holds them. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ImageService, type IPullImageRequest, RuntimeService } from '../../../src/generated/cri.js';
import { createRpcClient, type RpcClient } from '../../../src/rpc/index.ts';
import { TestDaemon } from '../../fixtures/daemon.ts';
import { makeImage, makeLayer } from '../../fixtures/image-maker.ts';
import { startRegistry, type TestRegistry } from '../../fixtures/registry.ts';

const { pullImage, listImages, imageStatus } = ImageService.methods;
const TIMEOUT_MS = 60_000;
const [GOOD, BAD, TOKEN, IDENTITY] = [
  'marker-good',
  'marker-bad',
  'marker-registry-token',
  'marker-identity-token',
].map((name) => `${name}-${createHash('sha256').update(name).digest('hex').slice(0, 16)}`) as [
  string,
  string,
  string,
  string,
];

let registry: TestRegistry;
let daemon: TestDaemon;
let rpc: RpcClient;

beforeAll(async () => {
  registry = await startRegistry({ basic: { username: 'alice', password: GOOD } });
  await registry.push('private/app', makeImage({ layers: [makeLayer([{ path: 'file', data: 'x' }])] }), '1');
  daemon = await TestDaemon.create({ environment: { CAIRN_LOG_LEVEL: 'trace' } });
  rpc = createRpcClient({ address: `unix://${daemon.socket}` });
}, TIMEOUT_MS);
afterAll(async () => {
  rpc?.[Symbol.dispose]();
  await daemon?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
}, TIMEOUT_MS);

/** A secret as it is, and as HTTP, docker config files and JSON carry it. */
const shapes = (secret: string) =>
  [secret, `alice:${secret}`].flatMap((text) => [
    text,
    Buffer.from(text).toString('base64').replace(/=+$/, ''),
    encodeURIComponent(text),
    Buffer.from(text).toString('hex'),
  ]);

async function filesBelow(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

test(
  'credentials that were right or wrong are found nowhere after the pulls',
  async () => {
    const image = { image: `${registry.host}/private/app:1` };
    const other = { image: `${registry.host}/private/none:1` };
    const auth = { username: 'alice', password: GOOD };
    const encoded = { auth: Buffer.from(`alice:${GOOD}`).toString('base64') };
    const outcome = async (request: IPullImageRequest) =>
      await rpc.call(pullImage, request).then(
        () => 'OK',
        (error: unknown) => error,
      );
    const failures = [
      await outcome({ image, auth: { username: 'alice', password: BAD } }),
      await outcome({ image, auth: { registryToken: TOKEN } }),
      await outcome({ image, auth: { identityToken: IDENTITY, serverAddress: registry.host } }),
      await outcome({ image, auth: { ...auth, username: `al\nice${BAD}` } }),
      await outcome({ image: other, auth }),
    ];
    for (const failure of failures) expect(failure).toMatchObject({ name: 'CairnError' });
    expect(await outcome({ image })).toMatchObject({ kind: expect.stringMatching(/Unauthenticated|PermissionDenied/) });
    expect(await outcome({ image, auth: encoded })).toBe('OK');
    expect(await outcome({ image, auth })).toBe('OK');
    await daemon.cairn('pull', '-q', '--creds', `alice:${GOOD}`, image.image);

    const [, address = ''] = /"address":"(127\.0\.0\.1:\d+)","msg":"serving metrics"/.exec(await daemon.log()) ?? [];
    const places = new Map<string, Buffer>([
      ['errors', Buffer.from(failures.map((failure) => String(failure)).join('\n'))],
      ['/metrics', Buffer.from(await (await fetch(`http://${address}/metrics`)).text())],
      ['ListImages', Buffer.from(JSON.stringify(await rpc.call(listImages, {})))],
      ['ImageStatus', Buffer.from(JSON.stringify(await rpc.call(imageStatus, { image, verbose: true })))],
      ['Status', Buffer.from(JSON.stringify(await rpc.call(RuntimeService.methods.status, { verbose: true })))],
    ]);
    const files = await filesBelow(daemon.directory);
    expect(files.some((file) => file.endsWith('cairn.db'))).toBe(true);
    for (const file of files) places.set(file, await readFile(file));
    // What is looked for would be found.
    expect(places.get(daemon.logFile)?.includes('private/app')).toBe(true);
    expect((await daemon.log()).includes('"level":"trace"') || (await daemon.log()).includes('"level":"debug"')).toBe(
      true,
    );

    const found = [...places].flatMap(([place, content]) =>
      [GOOD, BAD, TOKEN, IDENTITY]
        .flatMap(shapes)
        .filter((shape) => content.includes(shape))
        .map((shape) => `${shape} in ${place}`),
    );
    expect(found).toEqual([]);
  },
  TIMEOUT_MS,
);
