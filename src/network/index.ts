/**
 * Pod networks through CNI (spec 1.1 and earlier): configuration lists from a directory, or Cairn's embedded bridge.
 *
 * The network namespace is the caller's, loopback in it as well. `add` runs the plugins of the network in use and keeps
 * request, configuration and result under the root, durably before the first plugin runs: so `remove` works with the
 * same configuration after a restart, a reboot (the namespace is gone, the address is still taken) or another network's
 * installation, and whatever a crash interrupts can be undone. A failed `add` undoes what it did.
 *
 * The network in use is the first valid file of `confDir`; the embedded one, where it is configured, when there is none.
 */
import type { Logger } from '../base/log.ts';

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
  /** `kubernetes.io/ingress-bandwidth` and `kubernetes.io/egress-bandwidth` limit the pod's rates. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly dns: {
    readonly servers: readonly string[];
    readonly searches: readonly string[];
    readonly options: readonly string[];
  };
  /** Addresses (with prefix length) and hardware address to ask for, where the network can. */
  readonly ips?: readonly string[];
  readonly mac?: string;
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
  /** CHECK, where the configuration has it. NotFound when the pod is not attached. */
  check(request: AttachRequest, signal?: AbortSignal): Promise<void>;
  /**
   * What is attached or half attached, by the requests it was made with: what no pod owns is to be removed. Of an entry
   * that can't be read only the ID is known.
   */
  attachments(): Promise<AttachRequest[]>;
  /**
   * GC of the network in use, where its configuration has it (CNI 1.1): what belongs to no attachment is given back. For the
   * start, before the first `add`. Runtimes that share a network must say `disableGC` in it.
   */
  collectGarbage(): Promise<void>;
  /**
   * The kubelet told us the node's pod CIDRs (UpdateRuntimeConfig). With `podCidrBridge` they become a configuration file
   * when there is no other network.
   */
  setPodCidrs(cidrs: readonly string[]): Promise<void>;
  /**
   * Takes the embedded network off the host: bridge, rules, address book. FailedPrecondition while a pod is attached; does
   * nothing without one. Disposing the service leaves all of it, since pods live on.
   */
  teardown(): Promise<void>;
}

export interface EmbeddedOptions {
  /** Name of the network, in results and in the rules' comment. */
  readonly name: string;
  /** The bridge's device name: at most 15 characters, and this instance's alone. */
  readonly bridge: string;
  /** IPv4, such as `10.89.0.0/16`; the bridge has its first address. */
  readonly subnet: string;
  /** IPv6; empty or undefined: none. */
  readonly subnet6?: string | undefined;
}

export interface NetworkServiceOptions {
  /** Cairn's root: attachments and addresses lie in `network/` below it. */
  readonly rootDirectory: string;
  readonly confDir: string;
  /** Directories of plugins, searched in order. */
  readonly binDirs: readonly string[];
  readonly embedded?: EmbeddedOptions | undefined;
  /** The bridge of the network that is made of the pod CIDRs where there is none; undefined: none is made. */
  readonly podCidrBridge?: string;
  /** A plugin that takes longer is killed; a minute when not given. */
  readonly pluginTimeoutMs?: number;
  readonly log: Logger;
}

export { type DirectoryScan, type NetworkList, type SkippedFile, scanDirectory } from './conflist.ts';
export { checkEmbeddedNetwork } from './embedded.ts';
export { createNetworkService } from './service.ts';
