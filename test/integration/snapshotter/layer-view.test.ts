/** Views of layers, as the worker threads mount them. */
import { closeSync, existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { mountInfo } from '../../../src/linux/index.ts';
import { viewLayers } from '../../../src/snapshotter/layer-view.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

test('a view is given back also while a descriptor in it is open somewhere, as in a child that was just forked', async () => {
  await using directory = await temporaryDirectory('view');
  const layers = ['upper', 'lower'].map((name) => join(directory.path, name));
  for (const layer of layers) mkdirSync(layer);
  writeFileSync(join(directory.path, 'lower', 'file'), 'x');
  const target = join(directory.path, 'view');
  const view = viewLayers(layers, target);
  const descriptor = openSync(join(target, 'file'), 'r');
  try {
    view[Symbol.dispose]();
  } finally {
    closeSync(descriptor);
  }
  expect(existsSync(target)).toBe(false);
  expect((await mountInfo()).filter((mount) => mount.target.startsWith(directory.path))).toEqual([]);
});
