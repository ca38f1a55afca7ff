/**
 * The rows of images, their names and blobs, and all of it in memory for reading.
 *
 * What is in memory is read from the rows again after every transaction, so it can't say anything else. `usedBlobs` and
 * `usedSnapshots` are live: a collection that runs while an image comes in sees it at once.
 */
import type { Digest } from '../base/digest.ts';
import { failpoint } from '../base/failpoint.ts';
import { series } from '../base/metrics.ts';
import type { Row, Store, Transaction } from '../store/index.ts';
import type { Image } from './index.ts';

export type BlobRole = 'index' | 'manifest' | 'config' | 'layer';

export interface ImageBlob {
  readonly digest: Digest;
  readonly role: BlobRole;
  readonly sizeBytes: number;
}

export interface ImageName {
  readonly name: string;
  readonly kind: 'tag' | 'digest';
}

/** An image without what its name rows say. */
export type ImageBody = Omit<Image, 'repoTags' | 'repoDigests' | 'pinned' | 'createdAtNs'>;

/** The column `data`. */
interface StoredData extends Pick<Image, 'diffIds' | 'layers' | 'config'> {
  /** By digest: of every blob that `image_blobs` lists. */
  readonly blobSizes: Readonly<Record<string, number>>;
}

interface Entry {
  readonly image: Image;
  readonly blobs: ReadonlyMap<Digest, number>;
}

export class ImageRecords {
  readonly usedBlobs: ReadonlySet<Digest>;
  readonly usedSnapshots: ReadonlySet<string>;
  readonly names: ReadonlyMap<string, string>;
  readonly #store: Store;
  readonly #isPinned: (name: string) => boolean;
  readonly #entries = new Map<string, Entry>();
  readonly #usedBlobs = new Set<Digest>();
  readonly #usedSnapshots = new Set<string>();
  readonly #names = new Map<string, string>();

  constructor(store: Store, isPinned: (name: string) => boolean) {
    this.#store = store;
    this.#isPinned = isPinned;
    this.usedBlobs = this.#usedBlobs;
    this.usedSnapshots = this.#usedSnapshots;
    this.names = this.#names;
    this.#reload(this.#store.all('SELECT id FROM images').map((row) => String(row['id'])));
  }

  get(id: string): Image | undefined {
    return this.#entries.get(id)?.image;
  }

  list(): Image[] {
    return Array.from(this.#entries.values(), (entry) => entry.image);
  }

  ids(): Iterable<string> {
    return this.#entries.keys();
  }

  /** Every blob that an image uses, once. */
  blobSizes(): ReadonlyMap<Digest, number> {
    return new Map(Array.from(this.#entries.values()).flatMap((entry) => [...entry.blobs]));
  }

  /** Makes or completes an image and points `names` to it, away from the images that had them. */
  async put(body: ImageBody, blobs: readonly ImageBlob[], names: readonly ImageName[]): Promise<void> {
    await failpoint('images.put');
    const touched = new Set<string>([body.id]);
    await this.#write(touched, (tx) => {
      const before = tx.get('SELECT data FROM images WHERE id = ?', body.id);
      const blobSizes = {
        ...(before && storedData(before).blobSizes),
        ...Object.fromEntries(blobs.map((blob) => [blob.digest, blob.sizeBytes])),
      };
      const { diffIds, layers, config } = body;
      const data: StoredData = { diffIds, layers, config, blobSizes };
      tx.run(
        `INSERT INTO images (id, manifest_digest, chain_id, size_bytes, created_at_ns, data) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (id) DO UPDATE SET manifest_digest = excluded.manifest_digest, size_bytes = excluded.size_bytes,
           data = excluded.data`,
        ...[body.id, body.manifestDigest, body.chainId ?? null, body.sizeBytes],
        ...[BigInt(Date.now()) * 1_000_000n, JSON.stringify(data)],
      );
      for (const { digest, role } of blobs) {
        tx.run('INSERT OR IGNORE INTO image_blobs (image_id, digest, role) VALUES (?, ?, ?)', body.id, digest, role);
      }
      for (const { name, kind } of names) {
        const holder = tx.get('SELECT image_id FROM image_names WHERE name = ?', name);
        if (holder) touched.add(String(holder['image_id']));
        tx.run(
          `INSERT INTO image_names (name, kind, image_id) VALUES (?, ?, ?)
           ON CONFLICT (name) DO UPDATE SET image_id = excluded.image_id, kind = excluded.kind`,
          ...[name, kind, body.id],
        );
      }
      for (const id of touched) this.#writePinned(tx, id);
    });
  }

  async removeNames(id: string, names: readonly string[]): Promise<void> {
    await failpoint('images.remove-names');
    await this.#write([id], (tx) => {
      for (const name of names) tx.run('DELETE FROM image_names WHERE name = ? AND image_id = ?', name, id);
      this.#writePinned(tx, id);
    });
  }

  async remove(id: string): Promise<void> {
    await failpoint('images.remove');
    await this.#write([id], (tx) => tx.run('DELETE FROM images WHERE id = ?', id));
  }

  async #write(touched: Iterable<string>, work: (tx: Transaction) => unknown): Promise<void> {
    try {
      await this.#store.transaction(work);
    } finally {
      this.#reload(touched);
    }
  }

  #writePinned(tx: Transaction, id: string): void {
    const names = tx.all('SELECT name FROM image_names WHERE image_id = ?', id).map((row) => String(row['name']));
    tx.run('UPDATE images SET pinned = ? WHERE id = ?', names.some(this.#isPinned) ? 1 : 0, id);
  }

  #reload(ids: Iterable<string>): void {
    for (const id of ids) {
      const entry = this.#read(id);
      if (entry) this.#entries.set(id, entry);
      else this.#entries.delete(id);
    }
    // Rebuilt in one go: nobody can look in between.
    this.#usedBlobs.clear();
    this.#usedSnapshots.clear();
    this.#names.clear();
    for (const { image, blobs } of this.#entries.values()) {
      for (const digest of blobs.keys()) this.#usedBlobs.add(digest);
      if (image.chainId !== undefined) this.#usedSnapshots.add(image.chainId);
      for (const name of [...image.repoTags, ...image.repoDigests]) this.#names.set(name, image.id);
    }
    series.images.set(this.#entries.size);
  }

  #read(id: string): Entry | undefined {
    const row = this.#store.get('SELECT * FROM images WHERE id = ?', id);
    if (!row) return undefined;
    const names = this.#store.all('SELECT name, kind FROM image_names WHERE image_id = ? ORDER BY name', id);
    const namesOf = (kind: string) => names.filter((each) => each['kind'] === kind).map((each) => String(each['name']));
    const { diffIds, layers, config, blobSizes } = storedData(row);
    const blobs = this.#store.all('SELECT DISTINCT digest FROM image_blobs WHERE image_id = ?', id);
    return {
      image: {
        id: row['id'] as Digest,
        repoTags: namesOf('tag'),
        repoDigests: namesOf('digest'),
        sizeBytes: Number(row['size_bytes']),
        manifestDigest: row['manifest_digest'] as Digest,
        diffIds,
        chainId: (row['chain_id'] as Digest | null) ?? undefined,
        layers,
        config,
        pinned: names.some((each) => this.#isPinned(String(each['name']))),
        createdAtNs: BigInt(row['created_at_ns'] as bigint),
      },
      blobs: new Map(blobs.map(({ digest }) => [digest as Digest, blobSizes[String(digest)] ?? 0])),
    };
  }
}

/** Our own JSON: written by `put` only. */
function storedData(row: Row): StoredData {
  return JSON.parse(String(row['data'])) as StoredData;
}
