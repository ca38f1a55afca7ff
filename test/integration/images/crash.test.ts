import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { makeImage, makeLayer } from '../../fixtures/image-maker.ts';
import { patternBytes } from '../../fixtures/pattern.ts';
import type { TestRegistry } from '../../fixtures/registry.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';
import { NOTHING, startImageDaemon, startRegistry } from './image-world.ts';

let registry: TestRegistry;
beforeAll(async () => {
  registry = await startRegistry();
}, 30_000);
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
});

const layers = [1, 2].map((seed) => makeLayer([{ path: `file-${seed}`, data: patternBytes(300_000, seed) }]));

describe('a daemon that dies while it pulls', () => {
  test.each(['registry.blob.append', 'content.commit.rename', 'images.layer.commit@2', 'images.put'])(
    'at %s: the next one starts clean and pulls the image',
    async (name) => {
      await using directory = await temporaryDirectory('images-crash');
      const made = makeImage({ layers });
      await registry.push('crash/app', made, 'v1');
      const image = `${registry.host}/crash/app:v1`;
      const [point, hit] = name.split('@');
      const armed = `${point}=crash${hit === undefined ? '' : `@${hit}`}`;
      await expect(pullOnce(directory.path, image, armed)).rejects.toMatchObject({ signal: 'SIGKILL' });

      await using daemon = await startImageDaemon(directory.path);
      await daemon.snapshotter.reconcile();
      await daemon.images.reconcile();
      expect({ ...(await daemon.leftovers()), ingests: [] }).toEqual(NOTHING);
      const pulled = await daemon.images.pull(image, {});
      expect(pulled.id).toBe(made.configDigest);
      expect(await daemon.leftovers()).toMatchObject({ images: 1, snapshots: 2, blobs: 4, ingests: [] });
    },
  );
});

function pullOnce(root: string, image: string, failpoints: string): Promise<void> {
  const program = fileURLToPath(new URL('../../fixtures/pull-once.ts', import.meta.url));
  const env = { ...process.env, CAIRN_FAILPOINTS: failpoints };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [program, root, image], { env }, (error, _out, text) => {
      if (error) reject(Object.assign(error, { text }));
      else resolve();
    });
  });
}
