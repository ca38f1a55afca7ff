/** One pass over a layer's file: digest the file, inflate it, digest the tar, unpack it. */
import { createHash } from 'node:crypto';
import type { Digest } from '../base/digest.ts';
import { throwIfAborted } from '../base/errors.ts';
import { refusedArchive } from './archive-error.ts';
import { decompress } from './decompress.ts';
import type { LayerSource, Usage } from './index.ts';
import { measureTree } from './measure-tree.ts';
import { SourceReader } from './source-reader.ts';
import { TarReader } from './tar-reader.ts';
import { type LayerNotes, LayerUnpacker } from './unpack.ts';
import type { UnpackLimits } from './unpack-limits.ts';

export interface StageJob {
  /** Existing and empty. */
  readonly directory: string;
  readonly source: LayerSource;
  readonly limits: UnpackLimits;
}

export interface StageResult {
  readonly blob: { readonly digest: Digest; readonly sizeBytes: number };
  readonly diffId: Digest;
  readonly notes: LayerNotes;
  readonly usage: Usage;
}

export async function stageLayer({ directory, source, limits }: StageJob, signal: AbortSignal): Promise<StageResult> {
  await using file = await SourceReader.open(source, signal);
  using unpacker = new LayerUnpacker(directory, limits);
  const reader = new TarReader(unpacker, limits);
  // Diff IDs are sha256 in every image there is.
  const tarHash = createHash('sha256');
  for await (const chunk of decompress(file)) {
    throwIfAborted(signal, 'snapshotter.unpack');
    tarHash.update(chunk);
    reader.push(chunk);
    if (reader.offset > limits.uncompressedBytesMax) {
      throw refusedArchive(`more than ${limits.uncompressedBytesMax} bytes when uncompressed`);
    }
  }
  reader.finish();
  await file.drain();
  return {
    notes: unpacker.finish(),
    diffId: `sha256:${tarHash.digest('hex')}` as Digest,
    blob: { sizeBytes: file.offset, digest: file.digest() },
    usage: measureTree(directory),
  };
}
