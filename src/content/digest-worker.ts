/** Digests one file a job, following it while it grows. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { Digest } from '../base/digest.ts';
import { CairnError, throwIfAborted } from '../base/errors.ts';
import { awaitGrowth, type Growth } from '../base/growing-file.ts';
import { serveJobs } from '../base/worker-pool.ts';
import type { BlobInfo } from './index.ts';

export interface DigestJob {
  readonly path: string;
  readonly algorithm: 'sha256' | 'sha512';
  readonly progress: SharedArrayBuffer | undefined;
}

const BUFFER_BYTES = 1024 * 1024;

serveJobs<DigestJob, BlobInfo>(async ({ path, algorithm, progress }, signal) => {
  const hash = createHash(algorithm);
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  await using file = await open(path, 'r');
  let offset = 0;
  const growth = async (): Promise<Growth> =>
    progress ? await awaitGrowth(progress, offset, signal) : { sizeBytes: Number.POSITIVE_INFINITY, complete: true };

  for (let reach = await growth(); ; reach = await growth()) {
    while (offset < reach.sizeBytes) {
      throwIfAborted(signal, 'content.digest');
      const { bytesRead } = await file.read(buffer, 0, Math.min(BUFFER_BYTES, reach.sizeBytes - offset), offset);
      if (bytesRead === 0) {
        if (reach.complete) break;
        throw new CairnError('Aborted', `${path} is shorter than its writer said`, { step: 'content.digest' });
      }
      hash.update(buffer.subarray(0, bytesRead));
      offset += bytesRead;
    }
    throwIfAborted(signal, 'content.digest');
    if (reach.complete) return { digest: `${algorithm}:${hash.digest('hex')}` as Digest, sizeBytes: offset };
  }
});
