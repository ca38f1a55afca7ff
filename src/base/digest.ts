/** Content digests (OCI image spec, descriptor.md, "Digests"): `sha256:` and `sha512:` in lower-case hex. */
import { createHash } from 'node:crypto';
import { CairnError } from './errors.ts';

/** A checked digest. Only `parseDigest` and `digestOf` make one. */
export type Digest = string & { readonly __brand: 'Digest' };
export type DigestAlgorithm = 'sha256' | 'sha512';

const HEX_LENGTH: Readonly<Record<DigestAlgorithm, number>> = { sha256: 64, sha512: 128 };

/** The digest in `unsafe`, or undefined when it is none. */
export function tryParseDigest(unsafe: string): Digest | undefined {
  const colon = unsafe.indexOf(':');
  const algorithm = unsafe.slice(0, colon);
  if (algorithm !== 'sha256' && algorithm !== 'sha512') return undefined;
  const hex = unsafe.slice(colon + 1);
  return hex.length === HEX_LENGTH[algorithm] && /^[0-9a-f]+$/.test(hex) ? (unsafe as Digest) : undefined;
}

/** As `tryParseDigest`, but throws `InvalidArgument` naming `field`. */
export function parseDigest(unsafe: string, field: string): Digest {
  const digest = tryParseDigest(unsafe);
  if (digest === undefined) {
    throw new CairnError('InvalidArgument', `${field}: ${JSON.stringify(unsafe)} is not a sha256 or sha512 digest`);
  }
  return digest;
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.startsWith('sha512:') ? 'sha512' : 'sha256';
}

export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(':') + 1);
}

/** As much of it as people read. */
export function shortDigest(digest: Digest): string {
  return digest.slice(0, digest.indexOf(':') + 13);
}

/** The digest of a small value; blobs are hashed while they stream, in a worker. */
export function digestOf(data: Uint8Array | string, algorithm: DigestAlgorithm = 'sha256'): Digest {
  return `${algorithm}:${createHash(algorithm).update(data).digest('hex')}` as Digest;
}

/** The chain ID of a layer on `parent` (OCI image spec, config.md, "Layer ChainID"). */
export function chainId(parent: Digest | undefined, diffId: Digest): Digest {
  return parent === undefined ? diffId : digestOf(`${parent} ${diffId}`);
}

/** The chain ID of every prefix of `diffIds`, bottom first. */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) chain.push(chainId(chain.at(-1), diffId));
  return chain;
}
