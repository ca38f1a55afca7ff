/**
 * Images: what an image's config digest (its ID) has in names, layers and settings; pulling, finding and removing them.
 *
 * The manifest, the config and the layer blobs lie in the content store, the unpacked layers in the snapshotter under
 * their chain IDs; one row set says that they belong together and is committed last.
 */
import type { Digest } from '../base/digest.ts';
import type { Logger } from '../base/log.ts';
import type { ContentStore } from '../content/index.ts';
import type { Credentials, Platform, RegistryClient } from '../registry/index.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import type { Store } from '../store/index.ts';

export interface Image {
  /** Config digest. */
  readonly id: Digest;
  /** `docker.io/library/alpine:3.20`. */
  readonly repoTags: readonly string[];
  /** `docker.io/library/alpine@sha256:…`. */
  readonly repoDigests: readonly string[];
  /** Compressed layers, config and manifest: what the registry would send. */
  readonly sizeBytes: number;
  /** The manifest that this image was made from. */
  readonly manifestDigest: Digest;
  /** Diff IDs, bottom first; `chainId` names the top snapshot (undefined: no layer). */
  readonly diffIds: readonly Digest[];
  readonly chainId: Digest | undefined;
  readonly layers: readonly { readonly digest: Digest; readonly sizeBytes: number; readonly mediaType: string }[];
  readonly config: ImageConfig;
  readonly pinned: boolean;
  /** When the image came to this store; when it was built says `config.created`. */
  readonly createdAtNs: bigint;
}

/** `config` of the OCI image configuration, checked; missing keys are empty. */
export interface ImageConfig {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | undefined;
  /** RFC 3339 as the builder wrote it, unchecked; empty when it did not. */
  readonly created: string;
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly volumes: readonly string[];
  readonly exposedPorts: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal: string;
}

export interface PullProgress {
  readonly image: string;
  readonly layers: readonly LayerProgress[];
}

export interface LayerProgress {
  readonly digest: Digest;
  readonly state: 'waiting' | 'downloading' | 'unpacking' | 'done' | 'present';
  readonly downloadedBytes: number;
  readonly sizeBytes: number;
}

export interface PullOptions {
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: PullProgress) => void;
}

export interface FilesystemUsage {
  readonly mountpoint: string;
  readonly usedBytes: number;
  readonly inodesUsed: number;
}

export interface ImageServiceOptions {
  /** The daemon's root: what `filesystemUsage` names as the place of images. */
  readonly rootDirectory: string;
  readonly store: Store;
  readonly content: ContentStore;
  readonly snapshotter: Snapshotter;
  readonly registry: RegistryClient;
  readonly log: Logger;
  /** What to choose from an index; this machine's by default. */
  readonly platform?: Platform;
  /** A container that uses the image, by ID; undefined when there is none. */
  readonly inUse: (imageId: Digest) => string | undefined;
  /** Names, or patterns with `*`, of images that are reported as pinned. */
  readonly pinnedImages: readonly string[];
  /** Layers at once over all pulls. */
  readonly downloadsMax?: number;
  readonly unpacksMax?: number;
  /** A pull that waits this long for its registry and gets nothing ends. 0: it waits on. Default: five minutes. */
  readonly pullProgressTimeoutMs?: number;
}

/** Disposing ends the pulls that run; what they fetched so far is kept for the next start. */
export interface ImageService extends AsyncDisposable {
  /** Resolves, fetches and unpacks what is missing, and names the image. Callers who ask for the same at once share the work. */
  pull(unsafeName: string, options: PullOptions): Promise<Image>;
  /**
   * The image that a name, `name@digest`, ID (`sha256:…` or its hex) or unambiguous ID prefix means; undefined when none.
   * InvalidArgument when the text can't be a reference.
   */
  find(unsafeName: string): Image | undefined;
  list(): Image[];
  /**
   * A name or `name@digest` removes that name, and the image with its last; an ID removes the image with all names. The
   * last tag of a repository takes the image's digests in that repository along, as with Docker.
   * FailedPrecondition naming a container when a container uses it and it would go. No error when there is none.
   */
  remove(unsafeName: string): Promise<void>;
  /** Keeps the image's snapshots and blobs while a container is made from it. */
  pin(image: Image): Disposable;
  /** Removes what no image, container or pull needs. Returns bytes freed. */
  collect(): Promise<number>;
  filesystemUsage(): Promise<FilesystemUsage>;
  /** At start, after the snapshotter's own: completes or forgets what a crash interrupted. */
  reconcile(): Promise<void>;
}

export { createImageService } from './service.ts';
