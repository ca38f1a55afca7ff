/**
 * The two ways in which an archive can be wrong. A broken one (bytes are missing or changed) is DataLoss: fetching it anew
 * may help. A refused one says something that Cairn will not do, however often it is fetched: InvalidArgument.
 */
import { CairnError } from '../base/errors.ts';

export function brokenArchive(message: string, cause?: unknown): CairnError {
  return new CairnError('DataLoss', `broken archive: ${message}`, { step: 'snapshotter.unpack', cause });
}

export function refusedArchive(message: string, cause?: unknown): CairnError {
  return new CairnError('InvalidArgument', `archive refused: ${message}`, { step: 'snapshotter.unpack', cause });
}
