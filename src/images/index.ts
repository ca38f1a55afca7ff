/**
 * Images: what an image's config digest (its ID) has in names, layers and settings; pulling, finding and removing them.
 *
 * The manifest, the config and the layer blobs lie in the content store, the unpacked layers in the snapshotter under
 * their chain IDs; one row set says that they belong together and is committed last.
 */
import type { Digest } from '../base/digest.ts';
import type { Credentials } from '../registry/index.ts';

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
  readonly createdAtNs: bigint;
}

/** `config` of the OCI image configuration, checked; missing keys are empty. */
export interface ImageConfig {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string | undefined;
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

export interface ImageService {
  /** Resolves, fetches and unpacks what is missing, and names the image. Callers who ask for the same at once share the work. */
  pull(unsafeName: string, options: PullOptions): Promise<Image>;
  /**
   * The image that a name, `name@digest`, ID (`sha256:…` or its hex) or unambiguous ID prefix means; undefined when none.
   * InvalidArgument when the text can't be a reference.
   */
  find(unsafeName: string): Image | undefined;
  list(): Image[];
  /**
   * A name or `name@digest` removes that name, and the image with its last; an ID removes the image with all names.
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
