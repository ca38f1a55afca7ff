/** The pod service: see index.ts for its contract. */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, messageOf } from '../base/errors.ts';
import { newId } from '../base/ids.ts';
import { KeyedMutex } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { series, timed } from '../base/metrics.ts';
import { stage } from '../base/stages.ts';
import { Twins } from '../base/twins.ts';
import type { ImageService } from '../images/index.ts';
import type { NetworkService } from '../network/index.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import type { Store } from '../store/index.ts';
import type { RuntimeHandler, TaskService } from '../task/index.ts';
import { buildSandbox } from './build.ts';
import { type CgroupDriver, podCgroup } from './cgroup.ts';
import { checkNetworks } from './check-networks.ts';
import { connectToPod } from './connect.ts';
import { Dismantler } from './dismantle.ts';
import { podHostname } from './files.ts';
import type { PodConfig, PodMembers, PodService } from './index.ts';
import { PodInit } from './init.ts';
import { catatonitRoot, imageRoot } from './init-root.ts';
import { type PodResources, updatePodLimits } from './limits.ts';
import { pinPathsOf } from './namespaces.ts';
import { reconcilePods, undoPod } from './reconcile.ts';
import { type PodRecord, PodRecords, podIdentity } from './records.ts';
import { runtimeNamed } from './runtime-name.ts';
import { PodTransitions } from './transition.ts';

/** sethostname(2). */
const HOSTNAME_BYTES_MAX = 64;

export interface PodServiceOptions {
  readonly store: Store;
  readonly network: NetworkService;
  readonly task: TaskService;
  readonly log: Logger;
  /** Sandboxes live in `sandboxes/` below it. */
  readonly stateDirectory: string;
  readonly netnsDirectory: string;
  /** Log directories below this one are Cairn's own (`cairn run` makes them): each goes with its pod. */
  readonly logsDirectory?: string;
  /** Parent cgroup of pods that name none. */
  readonly defaultCgroupParent: string;
  readonly cgroupDriver?: CgroupDriver;
  readonly runtimes: ReadonlyMap<string, RuntimeHandler>;
  readonly defaultRuntime: string;
  readonly sandbox: {
    /** Absolute. */
    readonly catatonitPath: string;
    /** Takes catatonit's place. */
    readonly image?: { readonly name: string; readonly images: ImageService; readonly snapshotter: Snapshotter };
  };
  /** Asked at each use: the containers are made after the pods. */
  readonly members: () => PodMembers;
  /** Lower values are refused to the daemon (no CAP_SYS_RESOURCE). Default: none is. */
  readonly oomScoreAdjMin?: number;
}

export function createPodService(options: PodServiceOptions): PodService {
  const { store, network, task, stateDirectory, netnsDirectory, runtimes, defaultRuntime, sandbox } = options;
  const log = options.log.child({ module: 'pods' });
  const sandboxesDirectory = join(stateDirectory, 'sandboxes');
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const records = new PodRecords(store);
  const transitions = new PodTransitions(records, log);
  const locks = new KeyedMutex('pod.lock');
  const twins = new Twins<PodRecord>({ step: 'pod.run', isThere: ({ id }) => records.find(id)?.state === 'ready' });
  /** Taken apart by this process: a second stop has nothing to do. */
  const dismantled = new Set<string>();
  const pinPaths = ({ directory, id }: PodRecord) => pinPathsOf(netnsDirectory, directory, id);
  const driver = options.cgroupDriver ?? 'cgroupfs';
  const defaultCgroupParent = podCgroup(driver, options.defaultCgroupParent);
  const { image } = sandbox;
  const init = new PodInit({
    task,
    root: image ? imageRoot(image.name, image.images, image.snapshotter) : catatonitRoot(sandbox.catatonitPath),
    runtimes,
    cgroupDriver: driver,
    oomScoreAdjMin: options.oomScoreAdjMin ?? -1000,
  });
  const { logsDirectory = '' } = options;
  const dismantler = new Dismantler({ network, init, log, logsDirectory, pinPaths });
  let disposed = false;
  const disposal = new AbortController();
  let checking = Promise.resolve();

  function plan(config: PodConfig): PodRecord {
    const id = newId();
    const hostname = podHostname(config);
    if (Buffer.byteLength(hostname) > HOSTNAME_BYTES_MAX) {
      const message = `hostname ${JSON.stringify(hostname)} is longer than ${HOSTNAME_BYTES_MAX} bytes`;
      throw new CairnError('InvalidArgument', message, { step: 'pod.run' });
    }
    const runtime = runtimeNamed(runtimes, config.runtimeHandler || defaultRuntime);
    return {
      id,
      state: 'creating',
      // What is the default today stays this pod's when the configuration changes.
      config: { ...config, cgroupParent: podCgroup(driver, config.cgroupParent || defaultCgroupParent) },
      createdAtNs: BigInt(Date.now()) * 1_000_000n,
      ips: [],
      namespaces: { network: undefined, ipc: undefined, uts: undefined, pid: undefined, user: undefined },
      directory: join(sandboxesDirectory, id),
      networkResult: undefined,
      runtimeName: runtime.name,
      bootId,
    };
  }

  /**
   * A retry waits for its twin, or takes over what that made while nobody waited. A sandbox whose ID was answered is
   * AlreadyExists, naming it: the kubelet finds a ready one by its labels and asks for a new one with the next attempt only.
   */
  function run(config: PodConfig, signal?: AbortSignal): Promise<PodRecord> {
    const { namespace, name, attempt } = config.metadata;
    const what = `pod ${namespace}/${name}, attempt ${attempt}`;
    return twins.run({ name: podIdentity(config.metadata), what, config }, signal, (own) => make(config, own));
  }

  async function make(config: PodConfig, signal: AbortSignal): Promise<PodRecord> {
    const record = plan(config);
    using _held = await locks.lock(record.id);
    await transitions.begin(record);
    try {
      const ready = await buildSandbox(record, { network, init, pinPaths }, signal);
      await transitions.change(ready);
      if (ready.namespaces.pid !== undefined) watchInit(ready);
      return ready;
    } catch (error) {
      await stage('pod.undo', () => undoPod(record, { transitions, dismantler, log }));
      throw error;
    }
  }

  /** Without its init process a pod can't take containers any more. */
  function watchInit({ id }: PodRecord): void {
    const ended = async () => {
      const { exitCode } = await init.wait(id);
      using _held = await locks.lock(id);
      const record = records.find(id);
      if (disposed || record?.state !== 'ready') return;
      log.warn({ pod: id, exitCode }, 'the init process of the pod has ended: the pod is no longer ready');
      await transitions.change({ ...record, state: 'notready' });
    };
    ended().catch((error: unknown) => {
      if (!disposed) log.error({ pod: id, err: error }, 'the init process of the pod can no longer be watched');
    });
  }

  /** The caller holds the pod's lock. */
  async function stopLocked(id: string): Promise<void> {
    const record = records.find(id);
    if (!record || dismantled.has(id)) return;
    // First the state: from here on no container can be made or started in it.
    if (record.state !== 'notready') await transitions.change({ ...record, state: 'notready' });
    await stage('pod.stop-containers', () => options.members().stopAll(id));
    await dismantler.dismantle(record);
    dismantled.add(id);
  }

  async function stop(unsafeId: string): Promise<void> {
    const id = records.find(unsafeId)?.id;
    if (id === undefined) return;
    using _held = await locks.lock(id);
    await stopLocked(id);
  }

  async function remove(unsafeId: string): Promise<void> {
    const id = records.find(unsafeId)?.id;
    if (id === undefined) return;
    using _held = await locks.lock(id);
    const record = records.find(id);
    if (!record) return;
    await stopLocked(id);
    await stage('pod.remove-containers', () => options.members().removeAll(id));
    await stage('pod.remove-directories', () => dismantler.removeDirectories(record));
    await transitions.remove(id);
    dismantled.delete(id);
  }

  async function updateResources(unsafeId: string, update: PodResources): Promise<void> {
    const { id } = records.get(unsafeId);
    using _held = await locks.lock(id);
    const shared = { driver, sharedParent: defaultCgroupParent };
    await records.update(await updatePodLimits(records.get(id), update, shared));
  }

  return {
    run: (config, signal) => timed(series.sandbox, { operation: 'run' }, () => run(config, signal)),
    stop: (id) => timed(series.sandbox, { operation: 'stop' }, () => stop(id)),
    remove: (id) => timed(series.sandbox, { operation: 'remove' }, () => remove(id)),
    updateResources: (id, update) => timed(series.sandbox, { operation: 'update' }, () => updateResources(id, update)),
    get: (id) => records.get(id),
    list: (filter = {}) => records.list(filter),
    connect: async (id, port, signal) => await connectToPod(records.get(id), port, signal),
    onTransition: (listener) => transitions.onTransition(listener),
    async reconcile() {
      await mkdir(sandboxesDirectory, { recursive: true, mode: 0o711 });
      const shared = { records, transitions, dismantler, init, network, log, pinPaths, watchInit };
      await reconcilePods({ ...shared, sandboxesDirectory, netnsDirectory, bootId });
      const isStillReady = (id: string) => records.find(id)?.state === 'ready';
      const ready = records.list({ state: 'ready' });
      const { signal } = disposal;
      checking = checkNetworks({ pods: ready, network, log, isStillReady, signal }).catch((error: unknown) => {
        log.error({ err: error }, `the check of the pods' networks ended: ${messageOf(error)}`);
      });
    },
    async [Symbol.asyncDispose]() {
      disposed = true;
      disposal.abort();
      await checking;
      await twins[Symbol.asyncDispose]();
    },
  };
}
