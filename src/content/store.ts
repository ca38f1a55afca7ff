/** `ContentStore` on a directory. */
import { mkdir, open, opendir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { type Digest, digestAlgorithm, tryParseDigest } from '../base/digest.ts';
import { syncDirectory } from '../base/durable.ts';
import { CairnError, errnoOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { KeyedMutex } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { createWorkerPool } from '../base/worker-pool.ts';
import { workerUrl } from '../base/worker-url.ts';
import { digestBuffer } from './digest-buffer.ts';
import type { DigestJob } from './digest-worker.ts';
import { diskError } from './disk-error.ts';
import type { BlobInfo, ContentStore, ContentStoreOptions, Ingest, IngestRequest } from './index.ts';
import { openIngest } from './ingest.ts';
import { ALGORITHMS, ContentPaths, ingestDigest, isTemporary } from './paths.ts';

const ABANDONED_AFTER_MS = 24 * 60 * 60 * 1000;

export async function openContentStore({ rootDirectory, log }: ContentStoreOptions): Promise<ContentStore> {
  const paths = new ContentPaths(rootDirectory);
  for (const algorithm of ALGORITHMS) await mkdir(paths.blobs(algorithm), { recursive: true, mode: 0o700 });
  await mkdir(paths.ingests, { recursive: true, mode: 0o700 });
  for (const name of await readdir(paths.ingests)) {
    if (isTemporary(name)) await rm(`${paths.ingests}/${name}`, { force: true });
  }
  return new DirectoryContentStore(paths, log.child({ module: 'content' }));
}

class DirectoryContentStore implements ContentStore {
  readonly #paths: ContentPaths;
  readonly #log: Logger;
  readonly #ingesting = new KeyedMutex();
  readonly #open = new Set<Digest>();
  readonly #pins = new Map<Digest, number>();
  readonly #removing = new Map<Digest, Promise<unknown>>();
  readonly #digests = createWorkerPool<DigestJob, BlobInfo>({
    name: 'digest',
    url: workerUrl('./digest-worker', import.meta.url),
  });
  #temporaries = 0;

  constructor(paths: ContentPaths, log: Logger) {
    this.#paths = paths;
    this.#log = log;
  }

  async stat(digest: Digest): Promise<BlobInfo | undefined> {
    await this.#removing.get(digest);
    try {
      const { size } = await stat(this.path(digest));
      return { digest, sizeBytes: size };
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw diskError(error, 'content.stat', `content: ${digest}`);
    }
  }

  path(digest: Digest): string {
    return this.#paths.blob(digest);
  }

  async read(digest: Digest, sizeBytesMax: number): Promise<Buffer> {
    const info = await this.stat(digest);
    if (!info) throw new CairnError('NotFound', `${digest} is not in the content store`, { step: 'content.read' });
    if (info.sizeBytes > sizeBytesMax) {
      throw new CairnError('ResourceExhausted', `${digest} has ${info.sizeBytes} bytes, more than ${sizeBytesMax}`, {
        step: 'content.read',
      });
    }
    try {
      const data = await readFile(this.path(digest));
      const actual = await digestBuffer(data, digestAlgorithm(digest));
      if (actual === digest) return data;
      throw new CairnError('DataLoss', `${digest} is broken on disk: its digest is ${actual}`, {
        step: 'content.read',
      });
    } catch (error) {
      throw diskError(error, 'content.read', `content: ${digest}`);
    }
  }

  async write(data: Uint8Array, expected?: Digest): Promise<BlobInfo> {
    const digest = await digestBuffer(data, expected === undefined ? 'sha256' : digestAlgorithm(expected));
    if (expected !== undefined && digest !== expected) {
      throw new CairnError('DataLoss', `${expected} is broken: the digest of what came is ${digest}`, {
        step: 'content.write',
      });
    }
    using _lock = await this.#ingesting.lock(digest);
    await this.#removing.get(digest);
    if (await this.#holds(digest, data)) return { digest, sizeBytes: data.byteLength };
    const temporary = this.#paths.temporary(this.#temporaries++);
    try {
      await using file = await open(temporary, 'wx', 0o600);
      await file.writeFile(data);
      await failpoint('content.write.sync');
      await file.datasync();
      await failpoint('content.write.rename');
      await rename(temporary, this.path(digest));
      await syncDirectory(dirname(this.path(digest)));
    } catch (error) {
      await rm(temporary, { force: true });
      throw diskError(error, 'content.write', `content: ${digest}`);
    }
    return { digest, sizeBytes: data.byteLength };
  }

  async ingest(digest: Digest, request: IngestRequest = {}): Promise<Ingest | undefined> {
    const lock = await this.#ingesting.lock(digest, request.signal);
    this.#open.add(digest);
    const release = () => {
      this.#open.delete(digest);
      lock[Symbol.dispose]();
    };
    try {
      if (await this.stat(digest)) {
        release();
        return undefined;
      }
      return await openIngest({
        digest,
        sizeBytes: request.sizeBytes,
        path: this.#paths.ingest(digest),
        blobPath: this.path(digest),
        release,
      });
    } catch (error) {
      release();
      throw error;
    }
  }

  async digestFile(
    path: string,
    algorithm: 'sha256' | 'sha512',
    options: { progress?: SharedArrayBuffer; signal?: AbortSignal } = {},
  ): Promise<BlobInfo> {
    try {
      return await this.#digests.run({ path, algorithm, progress: options.progress }, options.signal);
    } catch (error) {
      throw diskError(error, 'content.digest', `content: ${path}`);
    }
  }

  pin(digests: readonly Digest[]): Disposable {
    for (const digest of digests) this.#pins.set(digest, (this.#pins.get(digest) ?? 0) + 1);
    let pinned = true;
    return {
      [Symbol.dispose]: () => {
        if (!pinned) return;
        pinned = false;
        for (const digest of digests) {
          const count = (this.#pins.get(digest) ?? 0) - 1;
          if (count > 0) this.#pins.set(digest, count);
          else this.#pins.delete(digest);
        }
      },
    };
  }

  async remove(digest: Digest): Promise<void> {
    using _lock = await this.#ingesting.lock(digest);
    await this.#remove(digest, this.path(digest));
  }

  async collect(used: ReadonlySet<Digest>): Promise<number> {
    let freedBytes = 0;
    for await (const { digest, sizeBytes } of this.list()) {
      if (used.has(digest) || this.#needed(digest)) continue;
      await this.#remove(digest, this.path(digest));
      freedBytes += sizeBytes;
    }
    freedBytes += await this.#collectIngests();
    if (freedBytes > 0) this.#log.info({ freedBytes }, 'unused blobs removed');
    return freedBytes;
  }

  async *list(): AsyncIterable<BlobInfo> {
    for (const algorithm of ALGORITHMS) {
      for await (const entry of await opendir(this.#paths.blobs(algorithm))) {
        const digest = tryParseDigest(`${algorithm}:${entry.name}`);
        const info = digest && (await this.stat(digest));
        if (info) yield info;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#digests[Symbol.asyncDispose]();
  }

  #needed(digest: Digest): boolean {
    return this.#pins.has(digest) || this.#open.has(digest);
  }

  /** Whoever pins a digest and then asks for it waits for a removal that had begun, and so never sees a vanishing blob. */
  async #remove(digest: Digest, path: string): Promise<void> {
    const removal = Promise.resolve(failpoint('content.collect.remove')).then(() => rm(path, { force: true }));
    this.#removing.set(
      digest,
      removal.catch(() => undefined),
    );
    try {
      await removal;
    } catch (error) {
      throw diskError(error, 'content.collect', `content: ${digest}`);
    } finally {
      this.#removing.delete(digest);
    }
  }

  async #collectIngests(): Promise<number> {
    let freedBytes = 0;
    for (const name of await readdir(this.#paths.ingests)) {
      const digest = ingestDigest(name);
      if (digest === undefined || this.#needed(digest)) continue;
      const path = `${this.#paths.ingests}/${name}`;
      const info = await stat(path).catch(() => undefined);
      if (!info || info.mtimeMs > Date.now() - ABANDONED_AFTER_MS || this.#needed(digest)) continue;
      await this.#remove(digest, path);
      freedBytes += info.size;
    }
    return freedBytes;
  }

  /** The blob is there with these very bytes; a broken one is written anew. */
  async #holds(digest: Digest, data: Uint8Array): Promise<boolean> {
    const info = await this.stat(digest);
    return info?.sizeBytes === data.byteLength && (await readFile(this.path(digest))).equals(data);
  }
}
