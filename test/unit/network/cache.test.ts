import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { openAttachmentCache } from '../../../src/network/cache.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

test('half-written entries of a daemon that was killed are gone after the next start', async () => {
  await using directory = await temporaryDirectory('cache');
  const attachments = join(directory.path, 'attachments');
  await mkdir(attachments);
  await writeFile(join(attachments, 'pod.json.4711.3.tmp'), '{"for');
  await writeFile(join(attachments, 'pod.result.json.tmp'), '{');
  const cache = await openAttachmentCache(attachments);
  expect(await readdir(attachments)).toEqual([]);
  expect(await cache.ids()).toEqual([]);
});
