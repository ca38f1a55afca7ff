/** A registry behind a proxy, and an image service with real content, snapshots and rows in a directory of its own. */
import { mkdir, readdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { silentLogger } from '../../../src/base/log.ts';
import { type ContentStore, openContentStore } from '../../../src/content/index.ts';
import { createImageService, type ImageService, type ImageServiceOptions } from '../../../src/images/index.ts';
import { createRegistryClient } from '../../../src/registry/index.ts';
import { openSnapshotter, type Snapshotter } from '../../../src/snapshotter/index.ts';
import { openStore, type Store } from '../../../src/store/index.ts';
import { startRegistry, type TestRegistry } from '../../fixtures/registry.ts';
import { type RegistryProxy, startRegistryProxy } from '../../fixtures/registry-proxy.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

/** The parts of one daemon that images need. */
export interface ImageDaemon extends AsyncDisposable {
  readonly root: string;
  readonly images: ImageService;
  readonly content: ContentStore;
  readonly snapshotter: Snapshotter;
  readonly store: Store;
  /** What a container would use, by image ID. */
  readonly users: Map<string, string>;
  /** Everything that a pull may leave: rows, blobs, snapshots, directories. */
  leftovers(): Promise<Leftovers>;
}

export interface Leftovers {
  readonly images: number;
  readonly names: number;
  readonly blobs: number;
  readonly ingests: readonly string[];
  readonly snapshots: number;
  /** Entries of ROOT/snapshots, other than empty directories. */
  readonly directories: readonly string[];
}

export const NOTHING: Leftovers = { images: 0, names: 0, blobs: 0, ingests: [], snapshots: 0, directories: [] };

export async function startImageDaemon(root: string, options: Partial<ImageServiceOptions> = {}): Promise<ImageDaemon> {
  await using stack = new AsyncDisposableStack();
  const log = silentLogger;
  await mkdir(root, { recursive: true });
  const store = stack.use(await openStore({ path: `${root}/cairn.db`, log }));
  const content = stack.use(await openContentStore({ rootDirectory: root, log }));
  const snapshotter = stack.use(await openSnapshotter({ rootDirectory: root, store, log }));
  const registry = stack.use(
    createRegistryClient({ configPath: `${root}/certs.d`, userAgent: 'cairn-tests', log, environment: {} }),
  );
  const users = new Map<string, string>();
  const images = stack.use(
    createImageService({
      ...{ rootDirectory: root, store, content, snapshotter, registry, log },
      inUse: (id) => users.get(id),
      pinnedImages: ['*/pinned/*'],
      ...options,
    }),
  );
  const owned = stack.move();
  const count = (table: string) => Number(store.get(`SELECT count(*) AS n FROM ${table}`)?.['n']);
  return {
    ...{ root, images, content, snapshotter, store, users },
    leftovers: async () => ({
      images: count('images'),
      names: count('image_names'),
      blobs: (await Array.fromAsync(content.list())).length,
      ingests: await readdir(`${root}/content/ingest`),
      snapshots: snapshotter.list().length,
      directories: await settledEntries(`${root}/snapshots`),
    }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** The snapshotter empties its trash in the background. */
async function settledEntries(directory: string): Promise<string[]> {
  for (let i = 0; i < 500 && (await fullEntries(directory)).includes('trash'); i++) await sleep(10);
  return await fullEntries(directory);
}

async function fullEntries(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true });
  const full = await Promise.all(
    entries.map(async ({ name }) => ((await readdir(`${directory}/${name}`)).length > 0 ? [name] : [])),
  );
  return full.flat();
}

export interface ImageWorld extends ImageDaemon {
  readonly registry: TestRegistry;
  readonly proxy: RegistryProxy;
}

/** A fresh daemon on the shared registry. */
export async function imageWorld(
  registry: TestRegistry,
  options: Partial<ImageServiceOptions> = {},
): Promise<ImageWorld> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await temporaryDirectory('images'));
  const proxy = stack.use(await startRegistryProxy(registry.host));
  const daemon = stack.use(await startImageDaemon(directory.path, options));
  const owned = stack.move();
  return { ...daemon, registry, proxy, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

export { startRegistry };
