/**
 * Containers of a pod, from creation to removal.
 *
 * Life cycle: creating -> created -> running -> exited -> (removed). `create` makes row, writable snapshot and runtime
 * spec; `start` makes the processes (conmon, runc). A command that can't start leaves the container exited, reason
 * `StartError`, exit code 128, and `start` throws the runtime's own words.
 */

import type { IdMappings } from '../linux/index.ts';
import type { Resources } from '../pods/index.ts';
import type { ExecResult } from '../task/index.ts';
import type { ContainerStreams } from './streams.ts';
import type { ContainerTransition } from './transition.ts';

export type ContainerState = 'creating' | 'created' | 'running' | 'exited';

export interface ContainerMount {
  readonly containerPath: string;
  /** Empty when it is an image's files that are mounted. */
  readonly hostPath: string;
  /** `subPath` is below the image's root; empty: all of it. */
  readonly image: { readonly name: string; readonly subPath: string } | undefined;
  readonly readonly: boolean;
  readonly recursiveReadonly: boolean;
  readonly propagation: 'private' | 'rslave' | 'rshared';
  readonly selinuxRelabel: boolean;
  /** `noexec`, `nodev`, ...: as a runtime takes them. */
  readonly options: readonly string[];
  /** Whose files the volume's are, seen from the pod's user namespace. */
  readonly idMappings: IdMappings | undefined;
}

export type SeccompProfile =
  | { readonly kind: 'unconfined' }
  | { readonly kind: 'runtimeDefault' }
  | { readonly kind: 'localhost'; readonly path: string };

export interface SecurityContext {
  readonly privileged: boolean;
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  readonly addAmbientCapabilities: readonly string[];
  readonly pid: { readonly mode: 'pod' | 'container' | 'node' | 'target'; readonly targetId: string };
  readonly runAsUser: number | undefined;
  readonly runAsUsername: string;
  readonly runAsGroup: number | undefined;
  readonly supplementalGroups: readonly number[];
  readonly supplementalGroupsPolicy: 'merge' | 'strict';
  readonly readonlyRootfs: boolean;
  readonly noNewPrivileges: boolean;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly seccomp: SeccompProfile;
  readonly apparmorProfile: string;
}

/** CreateContainer's configuration, checked and defaulted at the CRI door. It is stored as JSON with the row. */
export interface ContainerConfig {
  readonly name: string;
  readonly attempt: number;
  /** As the caller named it. */
  readonly image: string;
  readonly userSpecifiedImage: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly env: readonly { readonly key: string; readonly value: string }[];
  readonly mounts: readonly ContainerMount[];
  readonly devices: readonly {
    readonly containerPath: string;
    readonly hostPath: string;
    readonly permissions: string;
  }[];
  /** `vendor.com/class=name`, each once. */
  readonly cdiDevices: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Relative to the pod's log directory. */
  readonly logPath: string;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  readonly resources: Resources;
  readonly security: SecurityContext;
  /** A signal number of Linux; undefined: the image's, else SIGTERM. */
  readonly stopSignal: number | undefined;
}

/** Who the first process starts as, as the container sees it. */
export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  /** The primary group among them. */
  readonly groups: readonly number[];
}

export interface Container {
  readonly id: string;
  readonly podId: string;
  readonly state: ContainerState;
  readonly config: ContainerConfig;
  /** Those in effect: as created and updated since, and as far as the host gives them. */
  readonly resources: Resources;
  /** Image ID (config digest). */
  readonly imageId: string;
  /** IDs of the images that it has mounted as volumes. */
  readonly volumeImageIds: readonly string[];
  readonly createdAtNs: bigint;
  /** 0 until then. */
  readonly startedAtNs: bigint;
  readonly finishedAtNs: bigint;
  readonly exitCode: number;
  /** `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`; empty before the end. */
  readonly reason: string;
  readonly message: string;
  /** Absolute; empty without logs. */
  readonly logPath: string;
  /** Undefined while the container is still being created. */
  readonly user: ContainerUser | undefined;
  /** The signal in effect: the caller's, else the image's, else SIGTERM. */
  readonly stopSignal: number;
  readonly pid: number | undefined;
}

export interface ContainerFilter {
  readonly id?: string;
  readonly state?: ContainerState;
  readonly podId?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export interface ContainerService extends ContainerStreams, AsyncDisposable {
  create(podId: string, config: ContainerConfig, signal?: AbortSignal): Promise<Container>;
  start(id: string, signal?: AbortSignal): Promise<void>;
  /** Stop signal, then SIGKILL after the grace period (0: at once). No error when it is unknown or not running. */
  stop(id: string, timeoutSeconds: number, signal?: AbortSignal): Promise<void>;
  /** Kills what runs, then removes everything. No error when it is unknown. */
  remove(id: string): Promise<void>;
  /** By full ID or unambiguous prefix. NotFound, or InvalidArgument when the prefix is ambiguous. */
  get(id: string): Container;
  /** What is still being created is listed only to those who ask for that state. */
  list(filter?: ContainerFilter): Container[];
  execSync(id: string, command: readonly string[], timeoutSeconds: number, signal?: AbortSignal): Promise<ExecResult>;
  /**
   * Changes limits; what the update does not name stays. A created container starts with them; FailedPrecondition for one
   * that has exited. After an error the limits are those from before.
   */
  updateResources(id: string, update: Resources): Promise<void>;
  reopenLog(id: string): Promise<void>;
  /** The runtime spec, for verbose status. NotFound after a reboot: it belonged to that boot. */
  runtimeSpec(id: string): Promise<unknown>;
  /** Hears of every change of state, in order, once it is durable. */
  onTransition(listener: (transition: ContainerTransition) => void): Disposable;
  /** At start, after the pods' own: brings rows and world together. */
  reconcile(): Promise<void>;
}

export type { Resources } from '../pods/index.ts';
export { type LoadAppArmorOptions, loadDefaultAppArmorProfile } from './apparmor/load-default.ts';
export { isQualifiedName as isQualifiedCdiName } from './cdi/registry.ts';
export { type ContainerServiceOptions, createContainerService } from './service.ts';
export { type HostFacts, readHostFacts } from './spec/host-facts.ts';
export type { RlimitSpec } from './spec/oci.ts';
export type { ContainerStreams } from './streams.ts';
export type { ContainerTransition } from './transition.ts';
