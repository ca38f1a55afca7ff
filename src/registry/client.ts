/** The registry client: wires hosts, credentials, transport, manifests and blobs together. */
import { createAuthorizer } from './auth.ts';
import { fetchBlob, openBlob } from './blobs.ts';
import { createCredentialSource } from './credentials.ts';
import { createHostDirectory } from './hosts.ts';
import { createHostsClient } from './hosts-client.ts';
import type { RegistryClient, RegistryClientOptions, RegistryLimits } from './index.ts';
import { fetchManifest, resolveManifest } from './manifests.ts';
import { createTransport } from './transport.ts';

const LIMITS: RegistryLimits = {
  connectTimeoutMs: 10_000,
  headersTimeoutMs: 30_000,
  stallTimeoutMs: 30_000,
  triesMax: 5,
  baseMs: 250,
  delayMsMax: 5_000,
  retryAfterMsMax: 30_000,
  resumesMax: 5,
};

export function createRegistryClient(options: RegistryClientOptions): RegistryClient {
  const { configPath, dockerConfigPath, userAgent, environment = process.env } = options;
  const log = options.log.child({ module: 'registry' });
  const limits = { ...LIMITS, ...options.limits };
  const transport = createTransport(environment, limits);
  const client = createHostsClient({
    hosts: createHostDirectory(configPath),
    credentials: createCredentialSource(dockerConfigPath, environment),
    authorizer: createAuthorizer(transport, userAgent),
    transport,
    limits,
    userAgent,
    log,
  });
  return {
    resolve: (reference, call) => resolveManifest(client, reference, call),
    fetchManifest: (reference, call) => fetchManifest(client, reference, call),
    openBlob: (reference, descriptor, offset, call) => openBlob(client, reference, descriptor, offset, call),
    fetchBlob: (reference, descriptor, sink, call) => fetchBlob(client, reference, descriptor, sink, call, limits, log),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}
