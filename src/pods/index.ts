/**
 * Pod sandboxes: namespaces, files and network that the containers of a pod share.
 *
 * A sandbox is no process: it is a directory of pinned namespaces and files, and a CNI attachment. Only a pod that
 * shares one PID namespace gets an init process (a task of its own).
 *
 * Life cycle: creating -> ready -> notready -> (removed). `creating` is committed before the first side effect; a
 * sandbox found in it at start is undone. A ready one becomes notready by `stop`, by a reboot, or when what makes it
 * ready (a pin, its init process) is gone.
 */
import type { Socket } from 'node:net';
import type { IdMappings } from '../linux/index.ts';
import type { PortMapping } from '../network/index.ts';
import type { PodResources } from './limits.ts';
import type { Resources } from './resources.ts';
import type { PodTransition } from './transition.ts';

export type PodState = 'creating' | 'ready' | 'notready';

/** Whose namespace: the pod's own, one for each container, or the host's. */
export type NamespaceMode = 'pod' | 'container' | 'node';

export interface PodMetadata {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly attempt: number;
}

/** RunPodSandbox's configuration, checked and defaulted at the CRI door. It is stored as JSON with the row. */
export interface PodConfig {
  readonly metadata: PodMetadata;
  /** Empty: the host's name for host network, else the pod's. */
  readonly hostname: string;
  /** Directory of the container logs; empty: no logs. */
  readonly logDirectory: string;
  readonly dns:
    | { readonly servers: readonly string[]; readonly searches: readonly string[]; readonly options: readonly string[] }
    | undefined;
  readonly portMappings: readonly PortMapping[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  readonly cgroupParent: string;
  /** What the caller told of the pod as a whole; limits.ts says what is done with it. */
  readonly resources: Resources;
  readonly overhead: Resources;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly namespaces: { readonly network: NamespaceMode; readonly pid: NamespaceMode; readonly ipc: NamespaceMode };
  /** ID mappings of a user namespace of the pod's own; undefined: the host's. */
  readonly userNamespace: IdMappings | undefined;
  readonly privileged: boolean;
}

export interface Pod {
  readonly id: string;
  readonly state: PodState;
  readonly config: PodConfig;
  readonly createdAtNs: bigint;
  /** Pod IPs, primary first; empty with host network. */
  readonly ips: readonly string[];
  /** Pinned namespaces, absolute paths; undefined where the pod uses the host's (or, for pid, has none of its own). */
  readonly namespaces: {
    readonly network: string | undefined;
    readonly ipc: string | undefined;
    readonly uts: string | undefined;
    readonly pid: string | undefined;
    /** The others belong to it. */
    readonly user: string | undefined;
  };
  /** `STATE/sandboxes/ID`: holds hostname, hosts, resolv.conf, shm, ns/. */
  readonly directory: string;
  /** The cached CNI result; undefined with host network. */
  readonly networkResult: unknown;
}

export interface PodFilter {
  readonly id?: string;
  readonly state?: PodState;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface PodService extends AsyncDisposable {
  /** AlreadyExists when name, namespace, uid and attempt are taken by another live sandbox; on any failure all is undone. */
  run(config: PodConfig, signal?: AbortSignal): Promise<Pod>;
  /** Stops the pod's containers, gives its network back and unpins its namespaces. No error when it is unknown or stopped. */
  stop(id: string): Promise<void>;
  /** Stops, removes the pod's containers, then the pod. No error when it is unknown. */
  remove(id: string): Promise<void>;
  /**
   * Limits the pod's own cgroup. FailedPrecondition when the pod is not ready or has none, or when the kernel refuses.
   */
  updateResources(id: string, update: PodResources): Promise<void>;
  /** By full ID or unambiguous prefix. NotFound, or InvalidArgument when the prefix is ambiguous. */
  get(id: string): Pod;
  /** What is still being made is listed only to those who ask for that state. */
  list(filter?: PodFilter): Pod[];
  /** Connects to a TCP port on the pod's loopback. FailedPrecondition when it is not ready or nothing answers. */
  connect(id: string, port: number, signal?: AbortSignal): Promise<Socket>;
  /** Hears of every change of state, in order, once it is durable. */
  onTransition(listener: (transition: PodTransition) => void): Disposable;
  /** At start, before the containers': brings rows and world together. */
  reconcile(): Promise<void>;
}

/** What the pod service needs of the containers above it; `containers` implements it and cairnd.ts wires it in. */
export interface PodMembers {
  /** Stops every container of the pod, at once where the grace period is over. */
  stopAll(podId: string): Promise<void>;
  removeAll(podId: string): Promise<void>;
}

export { type CgroupDriver, cgroupsPath, podCgroup } from './cgroup.ts';
export { type PodFiles, podFiles, podHostname, podRoot } from './files.ts';
export { ociMappings } from './init-spec.ts';
export { limitsOf, type PodResources } from './limits.ts';
export { mergeResources, NO_RESOURCES, type Resources } from './resources.ts';
export { runtimeNamed } from './runtime-name.ts';
export { createPodService, type PodServiceOptions } from './service.ts';
export type { PodTransition } from './transition.ts';
