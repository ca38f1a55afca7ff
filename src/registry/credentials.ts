/**
 * Whose credentials go to which host.
 *
 * A caller's credentials are meant for the registry in the image's name (its server in hosts.toml included), or for
 * `serverAddress` where it says one; a mirror gets them only when it is that host. Elsewhere the docker config decides,
 * by the host that is asked.
 */
import { findCredentials, normaliseKey, readDockerConfig } from './docker-config.ts';
import type { RegistryHost } from './hosts.ts';
import type { Credentials, Reference } from './index.ts';
import { DOCKER_HUB } from './reference.ts';

export interface CredentialSource {
  credentialsFor(
    host: RegistryHost,
    reference: Reference,
    given: Credentials | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Credentials | undefined>;
}

export function createCredentialSource(
  dockerConfigPath: string | undefined,
  environment: NodeJS.ProcessEnv,
): CredentialSource {
  return {
    credentialsFor: async (host, reference, given, signal) => {
      if (given && isMeantFor(given, host, reference)) return given;
      if (hasSecret(given) && host.isServer) return undefined;
      if (dockerConfigPath === undefined) return undefined;
      const config = await readDockerConfig(dockerConfigPath);
      if (!config) return undefined;
      const byName = host.isServer
        ? await findCredentials(config, reference.host, reference.repository, environment, signal)
        : undefined;
      return byName ?? findCredentials(config, host.authority, reference.repository, environment, signal);
    },
  };
}

/** True when the caller's credentials hold something and belong to `host`. */
function isMeantFor(given: Credentials, host: RegistryHost, reference: Reference): boolean {
  if (!hasSecret(given)) return false;
  const registry = canonical(reference.host);
  const isRegistry = host.isServer || canonical(host.authority) === registry;
  if (!given.serverAddress) return isRegistry;
  const meant = canonical(normaliseKey(given.serverAddress).split('/', 1)[0] ?? '');
  return meant === canonical(host.authority) || (isRegistry && meant === registry);
}

function hasSecret(given: Credentials | undefined): boolean {
  return Boolean(given?.username || given?.password || given?.identityToken || given?.registryToken);
}

/** Docker Hub has three names. */
function canonical(host: string): string {
  const lower = host.toLowerCase();
  return lower === 'index.docker.io' || lower === 'registry-1.docker.io' ? DOCKER_HUB : lower;
}
