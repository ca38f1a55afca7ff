/** The digest of bytes in memory without holding up the event loop. */
import { type Digest, type DigestAlgorithm, digestOf } from '../base/digest.ts';

/** This much takes 0.1 ms. */
const INLINE_BYTES_MAX = 128 * 1024;

export async function digestBuffer(data: Uint8Array, algorithm: DigestAlgorithm): Promise<Digest> {
  if (data.byteLength <= INLINE_BYTES_MAX) return digestOf(data, algorithm);
  const name = algorithm === 'sha256' ? 'SHA-256' : 'SHA-512';
  const hash = await crypto.subtle.digest(name, data as Uint8Array<ArrayBuffer>);
  return `${algorithm}:${Buffer.from(hash).toString('hex')}` as Digest;
}
