/**
 * What was attached, by sandbox ID: the request, the configuration it was made with, and the plugins' result.
 *
 * It lies under the root, not the state directory, for after a reboot the addresses are still taken and DEL must run.
 * `ID.json` (request and configuration) is durable before the first plugin runs, so that whatever a crash leaves can be
 * undone. `ID.result.json` is written afterwards without a sync: it matters to plugins that take back what they set in
 * the kernel, and a power cut takes that as well.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removeTemporaries, writeFileDurably } from '../base/durable.ts';
import { CairnError, errnoOf, messageOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { NetworkList } from './conflist.ts';
import type { AttachRequest } from './index.ts';
import { isRecord, type JsonRecord } from './json.ts';

export interface Attachment {
  readonly request: AttachRequest;
  readonly list: NetworkList;
  /** In the form of the list's version; undefined while ADD runs, after a failed one, or after a power cut. */
  readonly result: JsonRecord | undefined;
}

export interface AttachmentCache {
  /** Undefined when nothing is attached; DataLoss when the entry can't be read. */
  get(id: string): Promise<Attachment | undefined>;
  /** Durable when it returns. */
  begin(request: AttachRequest, list: NetworkList): Promise<void>;
  complete(id: string, result: JsonRecord): Promise<void>;
  remove(id: string): Promise<void>;
  /** The IDs of all entries. */
  ids(): Promise<string[]>;
  /** The IDs of entries without a result: their ADD or DEL did not end, or a power cut took the result. */
  incomplete(): Promise<ReadonlySet<string>>;
}

const ENTRY = '.json';
const RESULT = '.result.json';
/** Raised when what an entry holds changes its meaning. */
const FORMAT = 1;

/** `directory` is made when it is not there; nobody else uses it. */
export async function openAttachmentCache(directory: string): Promise<AttachmentCache> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await removeTemporaries(directory);
  const entryPath = (id: string) => join(directory, `${id}${ENTRY}`);
  const resultPath = (id: string) => join(directory, `${id}${RESULT}`);

  return {
    async get(id) {
      const text = await readIfThere(entryPath(id));
      if (text === undefined) return undefined;
      const { request, list } = parseEntry(text, entryPath(id));
      return { request, list, result: parseCachedResult(await readIfThere(resultPath(id))) };
    },
    async begin(request, list) {
      await writeFileDurably(entryPath(request.id), JSON.stringify({ format: FORMAT, request, list }));
      await failpoint('network.cache.begun');
    },
    async complete(id, result) {
      const temporary = `${resultPath(id)}.tmp`;
      await writeFile(temporary, JSON.stringify(result), { mode: 0o600 });
      await failpoint('network.cache.complete');
      await rename(temporary, resultPath(id));
    },
    async remove(id) {
      // The entry goes last: as long as it is there, DEL is run again.
      await rm(`${resultPath(id)}.tmp`, { force: true });
      await rm(resultPath(id), { force: true });
      await failpoint('network.cache.remove');
      await rm(entryPath(id), { force: true });
    },
    ids: async () => idsAmong(await readdir(directory)),
    async incomplete() {
      const names = await readdir(directory);
      const results = new Set(names.filter((name) => name.endsWith(RESULT)));
      return new Set(idsAmong(names).filter((id) => !results.has(`${id}${RESULT}`)));
    },
  };
}

function idsAmong(names: readonly string[]): string[] {
  const entries = names.filter((name) => name.endsWith(ENTRY) && !name.endsWith(RESULT));
  return entries.map((name) => name.slice(0, -ENTRY.length));
}

/** Cairn wrote it whole or not at all, so its inside needs no check beyond the format. */
function parseEntry(text: string, path: string): { request: AttachRequest; list: NetworkList } {
  const lost = (reason: string, cause?: unknown) =>
    new CairnError('DataLoss', `network attachment ${path}: ${reason}`, { step: 'network.cache', cause });
  let entry: unknown;
  try {
    entry = JSON.parse(text);
  } catch (error) {
    throw lost(messageOf(error), error);
  }
  if (!isRecord(entry) || entry['format'] !== FORMAT || !isRecord(entry['request']) || !isRecord(entry['list'])) {
    throw lost('is not in the form that this version writes');
  }
  return entry as unknown as { request: AttachRequest; list: NetworkList };
}

/** A result that a power cut tore counts as none. */
function parseCachedResult(text: string | undefined): JsonRecord | undefined {
  if (text === undefined) return undefined;
  try {
    const result: unknown = JSON.parse(text);
    return isRecord(result) ? result : undefined;
  } catch {
    return undefined;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
