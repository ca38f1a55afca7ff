/**
 * The distribution client (OCI distribution spec v1.1; Docker schema 2 manifests as well).
 *
 * A `Reference` names an image; the hosts that serve it come from `certs.d/HOST/hosts.toml`, mirrors first. Each call
 * tries the hosts in order and reports all of them when none answers. Credentials belong to one call: they are sent to
 * the host they are meant for, never logged and never stored.
 *
 * What fails: `NotFound`, `Unauthenticated` and `PermissionDenied` carry the registry's own words and the hosts that were
 * asked; a registry that does not answer is `Unknown` with a message that begins `RegistryUnavailable: ` and names each
 * address tried (callers must not put anything before that prefix: the kubelet looks for it); `DataLoss` names the digest;
 * `InvalidArgument` a bad name; `FailedPrecondition` a bad hosts.toml or docker config, naming file and line.
 */
import type { Digest } from '../base/digest.ts';
import type { Logger } from '../base/log.ts';

/** A parsed image name: `HOST/REPOSITORY[:TAG][@DIGEST]`, short names expanded as Docker does. */
export interface Reference {
  /** As shown to people: `docker.io`. */
  readonly host: string;
  /** `library/alpine`. */
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: Digest | undefined;
  /** `docker.io/library/alpine`. */
  readonly name: string;
}

/** OCI descriptor (image spec, descriptor.md), checked. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly urls?: readonly string[];
}

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
}

/** Credentials for one call, as in CRI's AuthConfig. */
export interface Credentials {
  readonly username?: string;
  readonly password?: string;
  readonly identityToken?: string;
  readonly registryToken?: string;
  /** The registry they are meant for, where the caller said so. */
  readonly serverAddress?: string;
}

export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  /** The host that answered. */
  readonly servedBy: string;
}

/** An image manifest (OCI, or Docker schema 2), checked. Layers bottom first. */
export interface Manifest {
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
}

/** An image index (OCI) or manifest list (Docker), checked. */
export interface Index {
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations: Readonly<Record<string, string>>;
}

export interface CallOptions {
  /** Meant for the reference's own registry (or for `serverAddress`); without them the docker config is asked. */
  readonly credentials?: Credentials;
  readonly signal?: AbortSignal;
}

/** An open blob download. `offset` is where it really starts: 0 when the server ignored the range. */
export interface BlobStream extends AsyncDisposable {
  readonly offset: number;
  readonly chunks: AsyncIterable<Uint8Array>;
  /** The host that answered. */
  readonly servedBy: string;
}

export interface RegistryClientOptions {
  /** The certs.d directory; read anew for each call, so edits apply at once. It need not exist. */
  readonly configPath: string;
  /** A docker config.json: `auths`, `credHelpers`, `credsStore`. It need not exist. */
  readonly dockerConfigPath?: string;
  readonly log: Logger;
  /** HTTP_PROXY, HTTPS_PROXY, NO_PROXY and PATH (for credential helpers) come from here; `process.env` by default. */
  readonly environment?: NodeJS.ProcessEnv;
  readonly userAgent: string;
  readonly limits?: Partial<RegistryLimits>;
}

/** Every wait and every repetition has an end. */
export interface RegistryLimits {
  readonly connectTimeoutMs: number;
  /** From the request until the answer's headers. */
  readonly headersTimeoutMs: number;
  /** Between two pieces of an answer's body. */
  readonly stallTimeoutMs: number;
  /** How often the registry itself is asked; a mirror at most twice. */
  readonly triesMax: number;
  /** The first wait before another try; it doubles up to `delayMsMax`. */
  readonly baseMs: number;
  readonly delayMsMax: number;
  /** A longer Retry-After is not waited for. */
  readonly retryAfterMsMax: number;
  /** How often in a row a blob download may break off without progress. */
  readonly resumesMax: number;
}

/** Disposing closes idle connections and ends what is under way. */
export interface RegistryClient extends AsyncDisposable {
  /** What `reference` names now, by HEAD: costs no rate limit. Size and media type are the registry's claim. */
  resolve(reference: Reference, options: CallOptions): Promise<Descriptor>;
  /** The manifest or index that `reference` (its digest, else its tag) names; verified when named by digest. At most 8 MiB. */
  fetchManifest(reference: Reference, options: CallOptions): Promise<FetchedManifest>;
  /**
   * Opens a blob of `reference`'s repository at `offset`. Fails over between hosts when opening; the caller reopens at
   * its new offset when the stream breaks (`fetchBlob` in this module does so, with backoff).
   */
  openBlob(reference: Reference, descriptor: Descriptor, offset: number, options: CallOptions): Promise<BlobStream>;
  /**
   * Streams a whole blob into `sink` starting at `sink.offset`, resuming after broken connections, with a bounded
   * number of retries without progress. Never appends more than `descriptor.sizeBytes` (DataLoss). Does not verify the
   * digest: whoever owns the sink does.
   */
  fetchBlob(reference: Reference, descriptor: Descriptor, sink: BlobSink, options: CallOptions): Promise<void>;
}

export interface BlobSink {
  readonly offset: number;
  /** From here on the bytes come from this address: `https://mirror.example:5000`. */
  opened?(address: string): void;
  append(chunk: Uint8Array): Promise<void>;
  restart(): Promise<void>;
}

export { createRegistryClient } from './client.ts';
export { isIndexMediaType, parseIndex, parseManifest } from './manifest-format.ts';
export { hostPlatform, selectPlatform } from './platform.ts';
export { formatReference, parseReference } from './reference.ts';
