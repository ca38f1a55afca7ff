/** Where things lie under `ROOT/content`, and what a file's name says. */
import { join } from 'node:path';
import { type Digest, digestAlgorithm, digestHex, tryParseDigest } from '../base/digest.ts';

export const ALGORITHMS = ['sha256', 'sha512'] as const;

/** Small blobs on their way to their name; whatever is left of them at start is garbage. */
const TEMPORARY_PREFIX = 'tmp-';

export class ContentPaths {
  readonly content: string;
  readonly ingests: string;

  constructor(rootDirectory: string) {
    this.content = join(rootDirectory, 'content');
    this.ingests = join(this.content, 'ingest');
  }

  blobs(algorithm: (typeof ALGORITHMS)[number]): string {
    return join(this.content, 'blobs', algorithm);
  }

  blob(digest: Digest): string {
    return join(this.blobs(digestAlgorithm(digest)), digestHex(digest));
  }

  ingest(digest: Digest): string {
    return join(this.ingests, `${digestAlgorithm(digest)}-${digestHex(digest)}`);
  }

  temporary(number: number): string {
    return join(this.ingests, `${TEMPORARY_PREFIX}${process.pid}-${number}`);
  }
}

export function isTemporary(name: string): boolean {
  return name.startsWith(TEMPORARY_PREFIX);
}

/** The digest that an ingest's file name stands for. */
export function ingestDigest(name: string): Digest | undefined {
  return tryParseDigest(name.replace('-', ':'));
}
