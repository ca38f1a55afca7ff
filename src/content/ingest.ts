/**
 * One blob on its way in: an append-only file that followers read while it grows.
 *
 * Appended chunks are queued and written together, off the event loop; `append` waits only when more than
 * `QUEUE_BYTES_MAX` are queued. Nothing is synced before `commit`: what a power cut leaves of a partial file is found
 * wrong by the digest at the end, and is then fetched anew.
 */
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Digest } from '../base/digest.ts';
import { syncDirectory } from '../base/durable.ts';
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { GrowingFileWriter } from '../base/growing-file.ts';
import { diskError } from './disk-error.ts';
import type { BlobInfo, Ingest } from './index.ts';

const QUEUE_BYTES_MAX = 4 * 1024 * 1024;
/** Below the kernel's IOV_MAX. */
const CHUNKS_A_WRITE_MAX = 512;

export interface IngestOptions {
  readonly digest: Digest;
  /** The size that the blob's descriptor gives, where there is one. */
  readonly sizeBytes: number | undefined;
  readonly path: string;
  readonly blobPath: string;
  /** Called once, when the ingest is over. */
  readonly release: () => void;
}

export async function openIngest(options: IngestOptions): Promise<Ingest> {
  await failpoint('content.ingest.open');
  try {
    const file = await openPartial(options.path);
    const { size } = await file.stat();
    const ingest = new FileIngest(options, file, size);
    if (options.sizeBytes !== undefined && size > options.sizeBytes) await ingest.restart();
    return ingest;
  } catch (error) {
    throw diskError(error, 'content.ingest', `content: ${options.digest}`);
  }
}

class FileIngest implements Ingest {
  readonly digest: Digest;
  readonly path: string;
  readonly #options: IngestOptions;
  readonly #queue: Uint8Array[] = [];
  #file: FileHandle;
  #growth = new GrowingFileWriter();
  #queuedBytes = 0;
  #writtenBytes: number;
  #writing: Promise<void> | undefined;
  #failure: unknown;
  #worthless = false;
  #over = false;

  constructor(options: IngestOptions, file: FileHandle, sizeBytes: number) {
    this.#options = options;
    this.digest = options.digest;
    this.path = options.path;
    this.#file = file;
    this.#writtenBytes = sizeBytes;
    this.#growth.publish(sizeBytes);
  }

  get offset(): number {
    return this.#writtenBytes + this.#queuedBytes;
  }

  get progress(): SharedArrayBuffer {
    return this.#growth.shared;
  }

  async append(chunk: Uint8Array): Promise<void> {
    if (this.#over) throw new CairnError('Aborted', `content: the ingest of ${this.digest} is over`);
    if (this.#failure !== undefined) throw this.#failure;
    const { sizeBytes } = this.#options;
    if (sizeBytes !== undefined && this.offset + chunk.byteLength > sizeBytes) {
      this.#worthless = true;
      this.#fail(
        new CairnError('DataLoss', `${this.digest} is larger than the ${sizeBytes} bytes that its descriptor states`, {
          step: 'content.append',
        }),
      );
      throw this.#failure;
    }
    this.#queue.push(chunk);
    this.#queuedBytes += chunk.byteLength;
    this.#writing ??= this.#write();
    if (this.#queuedBytes > QUEUE_BYTES_MAX) await this.#flush();
  }

  async restart(): Promise<void> {
    await this.#writing;
    this.#growth.abandon();
    // A new file under the old name: whoever still reads the old one is not disturbed.
    await this.#file.close();
    await rm(this.path, { force: true });
    this.#file = await openPartial(this.path);
    this.#growth = new GrowingFileWriter();
    this.#writtenBytes = 0;
    this.#failure = undefined;
    this.#worthless = false;
  }

  async end(): Promise<void> {
    await this.#flush();
    this.#growth.complete();
  }

  async commit(actual: BlobInfo): Promise<BlobInfo> {
    await this.#flush();
    const { sizeBytes, blobPath } = this.#options;
    const expectedBytes = sizeBytes ?? this.#writtenBytes;
    if (actual.digest !== this.digest || actual.sizeBytes !== expectedBytes || this.#writtenBytes !== expectedBytes) {
      await this.discard();
      throw new CairnError(
        'DataLoss',
        `${this.digest} is broken: ${actual.sizeBytes} of ${expectedBytes} bytes came, their digest is ${actual.digest}`,
        { step: 'content.commit' },
      );
    }
    try {
      await failpoint('content.commit.sync');
      await this.#file.datasync();
      await failpoint('content.commit.rename');
      await rename(this.path, blobPath);
      await failpoint('content.commit.directory');
      await syncDirectory(dirname(blobPath));
    } catch (error) {
      throw diskError(error, 'content.commit', `content: ${this.digest}`);
    }
    this.#growth.complete();
    await this.#close();
    return { digest: this.digest, sizeBytes: expectedBytes };
  }

  async discard(): Promise<void> {
    this.#worthless = true;
    await this[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return;
    await this.#writing;
    this.#growth.abandon();
    try {
      if (this.#worthless || this.#writtenBytes === 0) await rm(this.path, { force: true });
    } finally {
      await this.#close();
    }
  }

  async #write(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const chunks = this.#queue.splice(0, CHUNKS_A_WRITE_MAX);
        const bytes = await writeAll(this.#file, chunks, this.#writtenBytes);
        this.#queuedBytes -= bytes;
        this.#writtenBytes += bytes;
        this.#growth.publish(this.#writtenBytes);
      }
    } catch (error) {
      this.#fail(diskError(error, 'content.append', `content: ${this.digest}`));
    } finally {
      this.#writing = undefined;
    }
  }

  #fail(error: unknown): void {
    this.#failure = error;
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#growth.abandon();
  }

  async #flush(): Promise<void> {
    await this.#writing;
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #close(): Promise<void> {
    this.#over = true;
    try {
      await this.#file.close();
    } finally {
      this.#options.release();
    }
  }
}

/** For reading and writing, made when missing, never truncated. */
async function openPartial(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r+');
  } catch {
    return await open(path, 'wx+', 0o600);
  }
}

/** Writes all of `chunks` at `position` and returns how many bytes that were. */
async function writeAll(file: FileHandle, chunks: Uint8Array[], position: number): Promise<number> {
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  let { bytesWritten } = await file.writev(chunks, position);
  if (bytesWritten < bytes) {
    // A short write: the disk is nearly full, and the rest tells how it ends.
    const whole = Buffer.concat(chunks);
    while (bytesWritten < bytes) {
      bytesWritten += (await file.write(whole, bytesWritten, bytes - bytesWritten, position + bytesWritten))
        .bytesWritten;
    }
  }
  return bytes;
}
