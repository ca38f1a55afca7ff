/** Archives as GNU tar writes them, in each of its formats: the reader must see what tar was given. */

import { execFileSync } from 'node:child_process';
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { recordTar } from '../../fixtures/tar-recorder.ts';

describe('GNU tar', () => {
  let directory = '';
  const long = `${'d'.repeat(90)}/${'e'.repeat(90)}`;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), 'cairn-gnu-tar-'));
    const at = (name: string) => join(directory, name);
    mkdirSync(at(long), { recursive: true });
    writeFileSync(at('small'), 'small file', { mode: 0o640 });
    writeFileSync(at(`${long}/file`), 'x'.repeat(1500));
    writeFileSync(at('empty'), '');
    linkSync(at('small'), at('zz-linked'));
    symlinkSync(`../${long}`, at('symlink'));
    writeFileSync(at('holes'), Buffer.alloc(4096, 'h'));
    truncateSync(at('holes'), 1 << 20);
    writeFileSync(at('holes'), Buffer.alloc(4096, 't'), { flag: 'r+' });
    truncateSync(at('holes'), 3 << 20);
    // Fractions that only PAX keeps.
    for (const name of ['small', 'empty', 'holes']) utimesSync(at(name), 1_600_000_000.5, 1_600_000_000.25);
  });

  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  const formats = [
    ['v7', []],
    ['ustar', []],
    ['oldgnu', ['--sparse']],
    ['gnu', ['--sparse']],
    ['posix', ['--sparse', '--sparse-version=0.0']],
    ['posix', ['--sparse', '--sparse-version=0.1']],
    ['posix', ['--sparse', '--sparse-version=1.0']],
  ] as const;

  test.each(formats)('--format=%s %j is read as it was meant', (format, options) => {
    // V7 has no room for long names, and ustar none for long link targets.
    const isV7 = format === 'v7';
    const targetFits = !isV7 && format !== 'ustar';
    const names = [
      'empty',
      'holes',
      'small',
      'zz-linked',
      ...(targetFits ? ['symlink'] : []),
      ...(isV7 ? [] : [long.slice(0, 90)]),
    ];
    const args = ['-c', `--format=${format}`, ...options, '-C', directory, '-f', '-', ...names];
    const archive = execFileSync('tar', args, { maxBuffer: 64 << 20 });
    const entries = recordTar(archive, { chunkBytes: [777] });
    expect(entries.length).toBe(isV7 ? 4 : targetFits ? 8 : 7);
    for (const entry of entries) {
      const path = join(directory, entry.unsafeName);
      const status = lstatSync(path, { bigint: true });
      expect(entry.mode).toBe(Number(status.mode & 0o7777n));
      expect([entry.uid, entry.gid]).toEqual([Number(status.uid), Number(status.gid)]);
      const precision = format === 'posix' ? 1n : 1_000_000_000n;
      expect(entry.modificationNs / precision).toBe(status.mtimeNs / precision);
      if (entry.type === 'file') expect(entry.content.equals(readFileSync(path))).toBe(true);
    }
    expect(entries.find((entry) => entry.unsafeName === 'zz-linked')).toMatchObject({
      type: 'hardlink',
      unsafeLinkTarget: 'small',
    });
    if (options.length > 0) {
      const holes = entries.find((entry) => entry.unsafeName === 'holes');
      expect(holes?.pieces).toEqual([[0, 4096]]);
      expect(archive.length).toBeLessThan(1 << 20);
    }
  });
});
