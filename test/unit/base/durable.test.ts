import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { removeTemporaries, writeFileDurably } from '../../../src/base/durable.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

describe('removeTemporaries', () => {
  test('what a crash left of a write goes, what was written stays', async () => {
    await using directory = await temporaryDirectory('durable');
    await writeFileDurably(join(directory.path, 'entry.json'), 'whole');
    await writeFile(join(directory.path, 'entry.json.4711.0.tmp'), 'ha');
    await removeTemporaries(directory.path);
    expect(await readdir(directory.path)).toEqual(['entry.json']);
    expect(await readFile(join(directory.path, 'entry.json'), 'utf8')).toBe('whole');
  });
});
