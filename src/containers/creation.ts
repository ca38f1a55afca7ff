/** CreateContainer: the row, what it stands for, and the undoing of both. */
import { join } from 'node:path';
import { CairnError, messageOf } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import type { KeyedMutex } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { stage } from '../base/stages.ts';
import { Twins } from '../base/twins.ts';
import type { Image, ImageService } from '../images/index.ts';
import { type CgroupDriver, cgroupsPath, type Pod, type PodService, runtimeNamed } from '../pods/index.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import type { RuntimeHandler } from '../task/index.ts';
import type { CdiRegistry } from './cdi/registry.ts';
import { buildContainer } from './create.ts';
import { type DismantleContext, removeFiles } from './dismantle.ts';
import { nowNs } from './exit.ts';
import type { ContainerConfig } from './index.ts';
import { containerLogPath } from './log-path.ts';
import { type ContainerRecord, type ContainerRecords, containerIdentity } from './records.ts';
import type { HostFacts } from './spec/host-facts.ts';
import type { RlimitSpec } from './spec/oci.ts';
import { effectiveResources } from './spec/resources.ts';
import { stopSignal } from './stop-signal.ts';
import type { ContainerTransitions } from './transition.ts';
import { findVolumeImages, ownVolumePaths } from './volumes.ts';

export interface CreationOptions {
  readonly pods: PodService;
  readonly images: ImageService;
  readonly snapshotter: Snapshotter;
  readonly runtimes: ReadonlyMap<string, RuntimeHandler>;
  readonly defaultRuntime: string;
  readonly cgroupDriver: CgroupDriver;
  readonly rlimits: readonly RlimitSpec[];
  readonly cdi: CdiRegistry;
  readonly host: HostFacts;
  readonly log: Logger;
  readonly containersDirectory: string;
  readonly records: ContainerRecords;
  readonly transitions: ContainerTransitions;
  readonly dismantle: DismantleContext;
  readonly locks: KeyedMutex;
}

/** Disposing ends the creations whose callers ran out of time. */
export class Creation implements AsyncDisposable {
  readonly #options: CreationOptions;
  readonly #twins: Twins<ContainerRecord>;

  constructor(options: CreationOptions) {
    this.#options = options;
    const isThere = ({ id }: ContainerRecord) => options.records.find(id)?.state === 'created';
    this.#twins = new Twins({ step: 'container.create', isThere });
  }

  /** A retry waits for its twin, as in `PodService.run`; a container whose ID was answered is AlreadyExists, naming it. */
  async create(podId: string, config: ContainerConfig, signal?: AbortSignal): Promise<ContainerRecord> {
    const { pods } = this.#options;
    const pod = pods.get(podId);
    if (pod.state !== 'ready') throw notReady(pod.id, pod.state);
    const what = `container ${config.name}, attempt ${config.attempt}, of pod ${pod.id}`;
    const name = containerIdentity({ podId: pod.id, config });
    return await this.#twins.run({ name, what, config }, signal, (own) => this.#make(pod, config, own));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#twins[Symbol.asyncDispose]();
  }

  async #make(pod: Pod, config: ContainerConfig, signal: AbortSignal): Promise<ContainerRecord> {
    const { images, snapshotter, transitions, locks, cdi, host, rlimits, log } = this.#options;
    if (config.security.privileged && !pod.config.privileged) {
      const message = `a privileged container is not allowed in pod sandbox ${pod.id}, which is not privileged`;
      throw new CairnError('InvalidArgument', message, { step: 'container.create' });
    }
    const image = images.find(config.image);
    if (!image) {
      throw new CairnError('NotFound', `image ${config.image} is not here; pull it first`, {
        step: 'container.create',
      });
    }
    const volumeImages = findVolumeImages(config, (name) => images.find(name));
    using stack = new DisposableStack();
    for (const used of [image, ...volumeImages.values()]) stack.use(images.pin(used));
    const record = this.#plan(pod, config, image, volumeImages);
    using _held = await locks.lock(record.id);
    await transitions.begin(record);
    try {
      const targetPidNamespace = (from: ContainerRecord) => this.#targetPidNamespace(from);
      const context = { snapshotter, cdi, host, rlimits, log, targetPidNamespace };
      const user = await buildContainer(record, pod, image, volumeImages, context, signal);
      return await transitions.change({ ...record, state: 'created', user });
    } catch (error) {
      await stage('container.undo', () => this.#undo(record));
      throw error;
    }
  }

  #plan(
    pod: Pod,
    config: ContainerConfig,
    image: Image,
    volumeImages: ReturnType<typeof findVolumeImages>,
  ): ContainerRecord {
    const { runtimes, defaultRuntime, cgroupDriver, containersDirectory, host } = this.#options;
    const id = newId();
    return {
      ...{ id, podId: pod.id, state: 'creating', config, imageId: image.id, createdAtNs: nowNs() },
      ...{ startedAtNs: 0n, finishedAtNs: 0n, exitCode: 0, reason: '', message: '', bootId: '' },
      ...{ user: undefined, pid: undefined },
      resources: effectiveResources(config.resources, host),
      logPath: containerLogPath(pod.config.logDirectory, config.logPath),
      runtimeName: runtimeNamed(runtimes, pod.config.runtimeHandler || defaultRuntime).name,
      cgroupsPath: cgroupsPath(cgroupDriver, pod.config.cgroupParent, id),
      stopSignal: stopSignal(config.stopSignal, image.config.stopSignal),
      directory: join(containersDirectory, id),
      volumeImageIds: [...new Set(volumeImages.values().map((volume) => volume.id))],
      ownVolumes: ownVolumePaths(config, image),
    };
  }

  #targetPidNamespace({ podId, config }: ContainerRecord): string | undefined {
    const { mode, targetId } = config.security.pid;
    if (mode !== 'target') return undefined;
    const target = this.#options.records.find(targetId);
    if (target?.podId === podId && target.state === 'running' && target.pid !== undefined) {
      return `/proc/${target.pid}/ns/pid`;
    }
    const message = `container ${JSON.stringify(targetId)}, whose PID namespace is wanted, does not run in pod ${podId}`;
    throw new CairnError('FailedPrecondition', message, { step: 'container.spec' });
  }

  async #undo(record: ContainerRecord): Promise<void> {
    const { dismantle, transitions, log } = this.#options;
    try {
      await removeFiles(record, dismantle);
      await transitions.remove(record.id);
    } catch (error) {
      const message = `container could not be undone; the next start of the daemon tries again: ${messageOf(error)}`;
      log.error({ container: record.id, pod: record.podId, err: error }, message);
    }
  }
}

export function notReady(podId: string, state: string): CairnError {
  return new CairnError('FailedPrecondition', `pod sandbox ${podId} is ${state}, not ready`, {
    step: 'container.pod',
  });
}
