/** `ImageService`: puts names, pulls, records and collection together. */
import { createHash } from 'node:crypto';
import type { Digest } from '../base/digest.ts';
import { chainIds } from '../base/digest.ts';
import { CairnError, type ErrorKind, isCairnError, throwIfAborted } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { JoinedWork } from '../base/joined-work.ts';
import { KeyedMutex, Semaphore } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { series, timed } from '../base/metrics.ts';
import { stage } from '../base/stages.ts';
import { type Credentials, formatReference, hostPlatform, parseReference } from '../registry/index.ts';
import { findImage } from './find.ts';
import type { FilesystemUsage, Image, ImageService, ImageServiceOptions, PullOptions } from './index.ts';
import { Layers } from './layers.ts';
import { pinnedMatcher } from './pinned.ts';
import { reportProgress } from './progress.ts';
import { ProgressWatch } from './progress-watch.ts';
import { type Pull, Puller } from './pull.ts';
import { ImageRecords } from './records.ts';
import { removalOf } from './removal.ts';

/** After these a later pull may go on where this one stopped, so what came is kept until the next collection. */
const WORTH_KEEPING: readonly ErrorKind[] = ['Unknown', 'Unavailable', 'DeadlineExceeded'];

/** As containerd's. */
const PULL_PROGRESS_TIMEOUT_MS = 300_000;

export function createImageService(options: ImageServiceOptions): ImageService {
  return new Images(options);
}

class Images implements ImageService {
  readonly #options: ImageServiceOptions;
  readonly #log: Logger;
  readonly #records: ImageRecords;
  readonly #puller: Puller;
  readonly #pulls = new JoinedWork<Digest>('images.pull');
  readonly #running = new Map<string, Pull>();
  readonly #ended = new Set<Promise<void>>();
  /** Changes of one image's names and its removal happen one after the other. */
  readonly #changing = new KeyedMutex('images.lock');
  readonly #collecting = new Semaphore(1, 'images.wait-collect');
  readonly #disposal = new AbortController();

  constructor(options: ImageServiceOptions) {
    this.#options = options;
    this.#log = options.log.child({ module: 'images' });
    this.#records = new ImageRecords(options.store, pinnedMatcher(options.pinnedImages));
    const layers = new Layers({
      ...options,
      log: this.#log,
      downloadsMax: options.downloadsMax ?? 6,
      unpacksMax: options.unpacksMax ?? 2,
    });
    this.#puller = new Puller({
      ...options,
      log: this.#log,
      records: this.#records,
      layers,
      platform: options.platform ?? hostPlatform(),
    });
  }

  async pull(unsafeName: string, options: PullOptions): Promise<Image> {
    const { credentials, onProgress } = options;
    const signal = AbortSignal.any([this.#disposal.signal, ...(options.signal ? [options.signal] : [])]);
    const reference = parseReference(unsafeName);
    throwIfAborted(signal, 'images.pull');
    const name = formatReference(reference);
    const key = `${name} ${credentialsKey(credentials)}`;
    // Whoever joins looks at the pull that runs, also after its end.
    const running = this.#pulls.has(key) ? this.#running.get(key) : undefined;
    const pull = running ?? this.#puller.begin(reference, credentials);
    this.#running.set(key, pull);
    const work = this.#pulls.run(key, signal, (own) => {
      const run = this.#run(name, pull, own).finally(() => {
        if (this.#running.get(key) === pull) this.#running.delete(key);
      });
      const ended = run.then(noop, noop).finally(() => this.#ended.delete(ended));
      this.#ended.add(ended);
      return run;
    });
    const sample = () => ({ image: name, layers: pull.progress() });
    using _report = onProgress && reportProgress(sample, onProgress);
    const id = await work;
    const image = this.#records.get(id);
    if (image) return image;
    throw new CairnError('Aborted', `${name}: the image was removed while it was pulled`, { step: 'images.pull' });
  }

  find(unsafeName: string): Image | undefined {
    const found = this.#lookup(unsafeName);
    return found && this.#records.get(found.id);
  }

  list(): Image[] {
    return this.#records.list();
  }

  async remove(unsafeName: string): Promise<void> {
    const unlocked = this.#lookup(unsafeName);
    if (!unlocked) return;
    {
      using _lock = await this.#changing.lock(unlocked.id);
      const found = this.#lookup(unsafeName);
      const image = found && this.#records.get(found.id);
      if (!found || !image) return;
      const removal = removalOf(image, found.name);
      if (!removal.whole) {
        await this.#records.removeNames(image.id, removal.names);
        this.#log.info({ image: image.id, names: removal.names }, 'image names removed');
        return;
      }
      const container = this.#options.inUse(image.id);
      if (container !== undefined) {
        throw new CairnError('FailedPrecondition', `image ${image.id} is in use by container ${container}`, {
          step: 'images.remove',
        });
      }
      await this.#records.remove(image.id);
      this.#log.info({ image: image.id, names: removal.names }, 'image removed');
    }
    await failpoint('images.remove.collect');
    await this.collect();
  }

  pin(image: Image): Disposable {
    const stack = new DisposableStack();
    stack.use(this.#options.content.pin([image.id, image.manifestDigest, ...image.layers.map((each) => each.digest)]));
    stack.use(this.#options.snapshotter.pin(chainIds(image.diffIds)));
    return stack;
  }

  async collect(): Promise<number> {
    using _place = await this.#collecting.acquire();
    const { snapshotter, content } = this.#options;
    return await stage('images.collect', async () => {
      const snapshotBytes = await snapshotter.collect(this.#records.usedSnapshots);
      return snapshotBytes + (await content.collect(this.#records.usedBlobs));
    });
  }

  async filesystemUsage(): Promise<FilesystemUsage> {
    const blobs = this.#records.blobSizes();
    let usedBytes = blobs.values().reduce((sum, size) => sum + size, 0);
    let inodesUsed = blobs.size;
    for (const { kind, usage } of this.#options.snapshotter.list()) {
      if (kind !== 'committed' || !usage) continue;
      usedBytes += usage.sizeBytes;
      inodesUsed += usage.inodes;
    }
    return { mountpoint: this.#options.rootDirectory, usedBytes, inodesUsed };
  }

  async reconcile(): Promise<void> {
    const { snapshotter, content } = this.#options;
    for (const image of this.#records.list()) {
      const names = [...image.repoTags, ...image.repoDigests];
      if (image.chainId !== undefined && !snapshotter.stat(image.chainId)) {
        this.#log.error(
          { image: image.id, names },
          'the snapshot of an image is gone: the image is forgotten, pull it again',
        );
        await this.#records.remove(image.id);
        continue;
      }
      for (const { digest } of image.layers) {
        if (await content.stat(digest)) continue;
        this.#log.warn({ image: image.id, names, digest }, 'a blob of an image is gone: a pull brings it back');
      }
    }
    await this.collect();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposal.abort(new CairnError('Unavailable', 'the daemon is stopping', { step: 'images.pull' }));
    await Promise.all(this.#ended);
  }

  #lookup(unsafeText: string) {
    return findImage({ names: this.#records.names, ids: this.#records.ids() }, unsafeText);
  }

  async #run(name: string, pull: Pull, signal: AbortSignal): Promise<Digest> {
    const startedAt = performance.now();
    const seconds = () => Math.round(performance.now() - startedAt) / 1000;
    try {
      const { pullProgressTimeoutMs = PULL_PROGRESS_TIMEOUT_MS } = this.#options;
      using watch =
        pullProgressTimeoutMs > 0 ? new ProgressWatch(name, pullProgressTimeoutMs, () => pull.standing()) : undefined;
      const either = watch ? AbortSignal.any([signal, watch.signal]) : signal;
      const id = await timed<never, Digest>(series.imagePull, {}, () => pull.run(either));
      const image = this.#records.get(id);
      const layers = pull.progress();
      const fetched = layers.filter((layer) => layer.state === 'done');
      const bytes = fetched.reduce((sum, layer) => sum + layer.downloadedBytes, 0);
      const facts = { image: name, id, digest: image?.manifestDigest, layers: layers.length, fetched: fetched.length };
      this.#log.info({ ...facts, bytes, seconds: seconds() }, 'image pulled');
      return id;
    } catch (error) {
      const level = isCairnError(error, 'Cancelled') ? 'info' : 'warn';
      this.#log[level]({ image: name, seconds: seconds(), err: error }, 'image not pulled');
      if (!isCairnError(error) || !WORTH_KEEPING.includes(error.kind)) await this.#clearAway();
      throw error;
    }
  }

  /** What a failed pull leaves belongs to no image. Failing here must not hide why the pull failed. */
  async #clearAway(): Promise<void> {
    try {
      await this.collect();
    } catch (error) {
      this.#log.error({ err: error }, 'what a failed pull left could not be removed; the next collection tries again');
    }
  }
}

function noop(): void {}

/** Tells callers apart without keeping what they sent. */
function credentialsKey(credentials: Credentials | undefined): string {
  if (!credentials) return '';
  const fields = Object.entries(credentials).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(fields)).digest('hex');
}
