import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { createCredentialSource } from '../../../src/registry/credentials.ts';
import { findCredentials, parseDockerConfig } from '../../../src/registry/docker-config.ts';
import type { RegistryHost } from '../../../src/registry/hosts.ts';
import { type Credentials, parseReference } from '../../../src/registry/index.ts';
import { DEFAULT_TLS } from '../../../src/registry/tls.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');

function find(config: unknown, host: string, repository = 'team/app') {
  return findCredentials(parseDockerConfig(JSON.stringify(config), 'config.json'), host, repository, {}, undefined);
}

describe("docker's config.json", () => {
  const auths = {
    'https://index.docker.io/v1/': { auth: base64('hub:h') },
    'registry.example': { auth: base64('all:a') },
    'registry.example/team': { auth: base64('team:t') },
    'https://Other.example:5000/v2/': { username: 'other', password: 'o:o' },
    'token.example': { identitytoken: 'refresh' },
    'padded.example': { auth: base64('padded:p\0\0') },
    'empty.example': {},
  };
  const table: readonly (readonly [string, string, Credentials | undefined])[] = [
    ['docker.io', 'library/app', { username: 'hub', password: 'h' }],
    ['registry-1.docker.io', 'library/app', { username: 'hub', password: 'h' }],
    ['registry.example', 'team/app', { username: 'team', password: 't' }],
    ['registry.example', 'teammate/app', { username: 'all', password: 'a' }],
    ['other.example:5000', 'x', { username: 'other', password: 'o:o' }],
    ['other.example', 'x', undefined],
    ['token.example', 'x', { identityToken: 'refresh' }],
    ['padded.example', 'x', { username: 'padded', password: 'p' }],
    ['empty.example', 'x', undefined],
    ['sub.registry.example', 'team/app', undefined],
  ];
  test.each(table)('for %s/%s has its entry', async (host, repository, credentials) => {
    expect(await find({ auths }, host, repository)).toEqual(credentials);
  });

  test('that is broken is told without showing what is in it', () => {
    const wrong = ['{"auths": {"r.example": {"auth": "c2VjcmV0"', '[]', '{"credsStore": "../../bin/sh"}'];
    for (const text of [...wrong, JSON.stringify({ auths: { r: { auth: base64('secret') } } })]) {
      const parse = () => parseDockerConfig(text, '/etc/config.json');
      expect(parse).toThrow(/^\/etc\/config\.json: /);
      expect(parse).toThrow(expect.objectContaining({ kind: 'FailedPrecondition' }));
      expect(parse).not.toThrow(/secret|c2Vj/);
    }
  });
});

describe("a caller's credentials", () => {
  const host = (authority: string, isServer: boolean): RegistryHost => ({
    origin: `https://${authority}`,
    authority,
    path: '/v2',
    capabilities: [],
    tls: DEFAULT_TLS,
    headers: {},
    connectTimeoutMs: undefined,
    isServer,
    plainFallback: false,
    isProxy: !isServer,
  });
  const given = { username: 'u', password: 'p' };
  const at = (serverAddress: string) => ({ ...given, serverAddress });
  let directory: string;
  let config: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'cairn-credentials-'));
    config = join(directory, 'config.json');
    const auth = base64('config:c');
    await writeFile(config, JSON.stringify({ auths: { 'mirror.example': { auth }, 'docker.io': { auth } } }));
  });
  afterAll(async () => rm(directory, { recursive: true, force: true }));

  const server = host('registry-1.docker.io', true);
  const mirror = host('mirror.example', false);
  const other = host('other.example', false);
  const table: readonly (readonly [string, RegistryHost, Credentials | undefined, string | undefined])[] = [
    ["go to the name's registry", server, given, 'u'],
    ["go to the name's registry under its other name", server, at('https://index.docker.io/v1/'), 'u'],
    ['do not go to a registry that they do not name', server, at('elsewhere.example'), undefined],
    ['go to the mirror that they name', mirror, at('mirror.example'), 'u'],
    ['do not go to a mirror that they do not name, which has its own', mirror, given, 'config'],
    ['do not go to a mirror without its own', other, given, undefined],
    ['win over the config, which serves when they are empty', server, { username: '' }, 'config'],
    ['may be missing', server, undefined, 'config'],
  ];
  test.each(table)('%s', async (_name, asked, credentials, username) => {
    const source = createCredentialSource(config, {});
    const chosen = await source.credentialsFor(asked, parseReference('alpine'), credentials, undefined);
    expect(chosen?.username).toBe(username);
  });

  test('need no config file', async () => {
    const source = createCredentialSource(join(directory, 'missing'), {});
    expect(await source.credentialsFor(server, parseReference('alpine'), undefined, undefined)).toBeUndefined();
  });
});
