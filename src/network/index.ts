/**
 * Pod networks through CNI (spec 1.1 and earlier): configuration lists from a directory, or Cairn's embedded bridge.
 *
 * The network namespace is the caller's. `add` runs the list's plugins and caches their result under the state root, so
 * that `remove` works after a restart with the same configuration; a failed `add` undoes what it did.
 */
export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIp: string;
}

/** One pod's attachment: everything that plugins may want to know. */
export interface AttachRequest {
  /** Sandbox ID: the CNI container ID. */
  readonly id: string;
  /** Path of the pinned network namespace; empty when it is gone (remove after a reboot). */
  readonly netnsPath: string;
  readonly podName: string;
  readonly podNamespace: string;
  readonly podUid: string;
  readonly portMappings: readonly PortMapping[];
  readonly cgroupParent: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly dns: {
    readonly servers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
}

export interface AttachResult {
  /** Primary first; at most one of each family comes first, then the rest. */
  readonly ips: readonly string[];
  /** The CNI result, for verbose status. */
  readonly raw: unknown;
}

export interface NetworkStatus {
  readonly ready: boolean;
  /** `NetworkPluginNotReady`, or empty. */
  readonly reason: string;
  readonly message: string;
  /** The name of the list in use, and where it came from. */
  readonly network: string | undefined;
}

export interface NetworkService extends AsyncDisposable {
  status(): NetworkStatus;
  /** FailedPrecondition (`NetworkPluginNotReady`) without a configuration; a plugin's error keeps its words and names the plugin. */
  add(request: AttachRequest, signal?: AbortSignal): Promise<AttachResult>;
  /** DEL in reverse order with the cached configuration; no error when there is nothing to do. */
  remove(request: AttachRequest): Promise<void>;
  check(request: AttachRequest): Promise<void>;
  /** The kubelet told us the node's pod CIDRs (UpdateRuntimeConfig). */
  setPodCidrs(cidrs: readonly string[]): Promise<void>;
}

export { createNetworkService } from './service.ts';
