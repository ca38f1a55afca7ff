/** Manifests and indexes from a registry: named by tag or digest, at most 8 MiB, verified when named by digest. */
import { type Digest, digestAlgorithm, digestOf, tryParseDigest } from '../base/digest.ts';
import { CairnError } from '../base/errors.ts';
import type { RegistryHost } from './hosts.ts';
import type { HostsClient } from './hosts-client.ts';
import type { CallOptions, Descriptor, FetchedManifest, Reference } from './index.ts';
import { detectMediaType, schema1Refused } from './manifest-format.ts';
import { ACCEPTED_MANIFESTS, bareMediaType, isSchema1 } from './media-types.ts';
import { HostsFailed } from './outcome.ts';
import { readBounded } from './response.ts';
import type { HttpResponse } from './transport.ts';

/** What registries accept themselves is 4 MiB. */
const MANIFEST_BYTES_MAX = 8 * 1024 * 1024;

export async function fetchManifest(
  client: HostsClient,
  reference: Reference,
  options: CallOptions,
): Promise<FetchedManifest> {
  return client.ask({
    ...manifestCall(reference, options),
    method: 'GET',
    step: 'registry.fetchManifest',
    accept: (response, host) => readManifest(response, host, reference),
  });
}

/** By HEAD; by GET where a registry's answer to HEAD says too little or says no (an error's words come with GET only). */
export async function resolveManifest(
  client: HostsClient,
  reference: Reference,
  options: CallOptions,
): Promise<Descriptor> {
  let found: Descriptor | undefined;
  try {
    found = await client.ask({
      ...manifestCall(reference, options),
      method: 'HEAD',
      step: 'registry.resolve',
      accept: async (response) => readHead(response, reference),
    });
  } catch (error) {
    if (!(error instanceof HostsFailed) || !error.answered) throw error;
  }
  return found ?? (await fetchManifest(client, reference, options)).descriptor;
}

function manifestCall(reference: Reference, options: CallOptions) {
  return {
    reference,
    capability: reference.digest === undefined ? ('resolve' as const) : ('pull' as const),
    path: `/manifests/${reference.digest ?? reference.tag ?? 'latest'}`,
    headers: { accept: ACCEPTED_MANIFESTS },
    verified: reference.digest !== undefined,
    statuses: [200],
    options,
  };
}

async function readManifest(
  response: HttpResponse,
  host: RegistryHost,
  reference: Reference,
): Promise<FetchedManifest> {
  const bytes = await readBounded(response, MANIFEST_BYTES_MAX);
  if (!bytes) throw refuse('ResourceExhausted', `sent a manifest of more than ${MANIFEST_BYTES_MAX} bytes`);
  const claimed = reference.digest ?? tryParseDigest(response.header('docker-content-digest') ?? '');
  const digest = digestOf(bytes, claimed === undefined ? 'sha256' : digestAlgorithm(claimed));
  if (claimed !== undefined && digest !== claimed) throw wrongDigest(claimed, digest);
  const contentType = bareMediaType(response.header('content-type'));
  const mediaType = detectMediaType(bytes, contentType);
  if (mediaType === undefined) {
    throw refuse('Unknown', `sent no manifest, but ${JSON.stringify(contentType || 'something without a type')}`);
  }
  if (isSchema1(mediaType)) throw schema1Refused(digest);
  return { descriptor: { mediaType, digest, sizeBytes: bytes.length }, bytes, servedBy: host.authority };
}

/** Undefined when the answer lacks what a descriptor needs. */
function readHead(response: HttpResponse, reference: Reference): Descriptor | undefined {
  response.discard();
  const digest = tryParseDigest(response.header('docker-content-digest') ?? '');
  const mediaType = bareMediaType(response.header('content-type'));
  const sizeBytes = Number(response.header('content-length') ?? Number.NaN);
  if (digest && reference.digest && digest !== reference.digest) throw wrongDigest(reference.digest, digest);
  if (!digest || detectMediaType(new Uint8Array(), mediaType) === undefined) return undefined;
  if (isSchema1(mediaType)) throw schema1Refused(digest);
  return Number.isSafeInteger(sizeBytes) ? { mediaType, digest, sizeBytes } : undefined;
}

function wrongDigest(wanted: Digest, got: Digest): CairnError {
  return refuse('DataLoss', `sent something else than manifest ${wanted}: its digest is ${got}`);
}

function refuse(kind: 'DataLoss' | 'ResourceExhausted' | 'Unknown', message: string): CairnError {
  return new CairnError(kind, message, { step: 'registry.fetchManifest' });
}
