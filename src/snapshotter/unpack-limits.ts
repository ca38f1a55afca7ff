/** Bounds on one layer. Beyond them it is refused as hostile; what people make stays far below. */
import { TAR_LIMITS, type TarLimits } from './tar-entry.ts';

export interface UnpackLimits extends TarLimits {
  /** Of the uncompressed archive: what a decompression bomb may cost at most. */
  readonly uncompressedBytesMax: number;
  /** Device nodes; whole distributions came with a few hundred. */
  readonly deviceNodesMax: number;
  /** Directories that have no entry of their own. */
  readonly impliedDirectoriesMax: number;
}

export const UNPACK_LIMITS: UnpackLimits = {
  ...TAR_LIMITS,
  uncompressedBytesMax: 256 * 1024 ** 3,
  deviceNodesMax: 10_000,
  impliedDirectoriesMax: 100_000,
};
