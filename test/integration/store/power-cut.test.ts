/**
 * A power cut, in small: the database lies in an ext4 file system on a loop device. What ext4 was not told to sync stays in
 * its page cache and never reaches the image file, so a copy of the image is what a disk would hold after the cut.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { silentLogger } from '../../../src/base/log.ts';
import { unmount } from '../../../src/linux/index.ts';
import { openStore } from '../../../src/store/index.ts';

let directory: string;
const at = (name: string) => join(directory, name);

function mountImage(image: string, target: string): void {
  mkdirSync(at(target), { recursive: true });
  // A commit of ext4's own every ten minutes: it must not do our work for us.
  execFileSync('mount', ['-o', 'loop,commit=600,noatime', at(image), at(target)]);
}

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cairn-power-'));
  writeFileSync(at('disk.img'), '');
  truncateSync(at('disk.img'), 48 << 20);
  execFileSync('mkfs.ext4', ['-q', '-F', at('disk.img')]);
  mountImage('disk.img', 'disk');
});

afterEach(async () => {
  await unmount(at('after'));
  await unmount(at('disk'));
  rmSync(directory, { recursive: true });
});

const open = (where: string, logBytesMax?: number) =>
  openStore({
    path: join(at(where), 'cairn.db'),
    log: silentLogger,
    ...(logBytesMax === undefined ? {} : { logBytesMax }),
  });

/** How many rows a start after a power cut now would find. */
async function rowsAfterPowerCut(): Promise<unknown> {
  copyFileSync(at('disk.img'), at('after.img'));
  mountImage('after.img', 'after');
  try {
    await using store = await open('after');
    expect(store.get('PRAGMA integrity_check')).toEqual({ integrity_check: 'ok' });
    return store.get('SELECT count(*) AS n FROM meta WHERE key LIKE ?', 'row-%')?.['n'];
  } finally {
    await unmount(at('after'));
  }
}

describe('a power cut', () => {
  test('takes no acknowledged commit, from the first one on', async () => {
    await using store = await open('disk');
    for (let n = 1; n <= 3; n++) {
      await store.transaction((tx) => tx.run('INSERT INTO meta VALUES (?, ?)', `row-${n}`, 'x'.repeat(6000)));
      expect(await rowsAfterPowerCut()).toBe(n);
    }
  });

  test('takes none while the log is brought into the database and starts over', async () => {
    await using store = await open('disk', 200_000);
    let rows = 0;
    for (let round = 1; round <= 3; round++) {
      while (store.counts.checkpoints < round) {
        rows++;
        await store.transaction((tx) => tx.run('INSERT INTO meta VALUES (?, ?)', `row-${rows}`, 'x'.repeat(6000)));
      }
      await sleep(50);
      expect(await rowsAfterPowerCut()).toBe(rows);
      // The new log, shorter than the old one whose remains lie behind it.
      rows++;
      await store.transaction((tx) => tx.run('INSERT INTO meta VALUES (?, ?)', `row-${rows}`, 'x'));
      expect(await rowsAfterPowerCut()).toBe(rows);
    }
  });
});
