/** The container service: see index.ts for its contract. */
import { readFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, messageOf } from '../base/errors.ts';
import { KeyedMutex } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { series, timed } from '../base/metrics.ts';
import { stage } from '../base/stages.ts';
import type { ImageService } from '../images/index.ts';
import { type CgroupDriver, type PodMembers, type PodService, runtimeNamed } from '../pods/index.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import type { Store } from '../store/index.ts';
import type { ExecResult, RuntimeHandler, TaskService, TaskSpec } from '../task/index.ts';
import { readSpec } from './bundle.ts';
import { createCdiRegistry } from './cdi/registry.ts';
import { Creation, notReady } from './creation.ts';
import { removeFiles, sharesPidNamespace } from './dismantle.ts';
import { nowNs, startErrorRecord } from './exit.ts';
import type { ContainerService, Resources } from './index.ts';
import { Lifetimes } from './lifetimes.ts';
import { reconcileContainers } from './reconcile.ts';
import { type ContainerRecord, ContainerRecords } from './records.ts';
import { type HostFacts, readHostFacts } from './spec/host-facts.ts';
import type { RlimitSpec } from './spec/oci.ts';
import { startTask } from './start.ts';
import { stdioOwner } from './stdio-owner.ts';
import { endsWithin, stopTask } from './stop.ts';
import { containerStreams } from './streams.ts';
import { ContainerTransitions } from './transition.ts';
import { updateContainer } from './update.ts';

/** The kubelet's own limit on what it keeps of a probe or hook is far lower. */
const EXEC_OUTPUT_BYTES_MAX = 16 << 20;
/** How long a stop waits, beyond the grace period, for a start that it has cancelled. */
const CANCELLED_START_MS = 5_000;

export interface ContainerServiceOptions {
  readonly store: Store;
  readonly pods: PodService;
  readonly images: ImageService;
  readonly snapshotter: Snapshotter;
  readonly task: TaskService;
  readonly log: Logger;
  /** Bundles live in `containers/` below it. */
  readonly stateDirectory: string;
  readonly runtimes: ReadonlyMap<string, RuntimeHandler>;
  readonly defaultRuntime: string;
  readonly cgroupDriver?: CgroupDriver;
  /** What containers get instead of the daemon's own (Node raises its soft RLIMIT_NOFILE, and children inherit that). */
  readonly rlimits: readonly RlimitSpec[];
  /** Where the specs of CDI devices are, the most important directory last. */
  readonly cdiSpecDirectories?: readonly string[];
  /** Size at which a log is cut off; undefined: never. */
  readonly logSizeBytesMax?: number;
  /** Read from the host unless a test says otherwise. */
  readonly host?: HostFacts;
}

export function createContainerService(options: ContainerServiceOptions): ContainerService & PodMembers {
  const { store, pods, images, snapshotter, task, runtimes, rlimits } = options;
  const log = options.log.child({ module: 'containers' });
  const host = options.host ?? readHostFacts();
  const cdi = createCdiRegistry({ directories: options.cdiSpecDirectories ?? [], log });
  const containersDirectory = join(options.stateDirectory, 'containers');
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const records = new ContainerRecords(store);
  const transitions = new ContainerTransitions(records, log);
  const dismantle = { task, snapshotter, taskSpec };
  const lifetimes = new Lifetimes({ task, records, transitions, dismantle, log });
  const locks = new KeyedMutex('container.lock');
  const creation = new Creation({
    ...{ pods, images, snapshotter, runtimes, rlimits, cdi, host, log, containersDirectory },
    ...{ records, transitions, dismantle, locks, defaultRuntime: options.defaultRuntime },
    cgroupDriver: options.cgroupDriver ?? 'cgroupfs',
  });
  /** Starts under way: a stop cancels them instead of waiting for their lock. */
  const starting = new Map<string, { cancel: (reason: CairnError) => void; ended: Promise<void> }>();

  function taskSpec(record: ContainerRecord): TaskSpec {
    const { id, config, directory, logPath } = record;
    return {
      id,
      runtime: runtimeNamed(runtimes, record.runtimeName),
      bundle: directory,
      logPath: logPath === '' ? undefined : logPath,
      logSizeBytesMax: options.logSizeBytesMax,
      stdin: config.stdin,
      stdinOnce: config.stdinOnce,
      terminal: config.tty,
      cgroupsPath: record.cgroupsPath,
    };
  }

  async function start(unsafeId: string, signal?: AbortSignal): Promise<void> {
    const { id } = records.get(unsafeId);
    using _held = await locks.lock(id, signal);
    const record = records.get(id);
    if (record.state !== 'created') throw wrongState(record, 'started');
    const pod = pods.get(record.podId);
    if (pod.state !== 'ready') throw notReady(pod.id, pod.state);
    const controller = new AbortController();
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    starting.set(id, { cancel: (reason) => controller.abort(reason), ended });
    try {
      const either = signal === undefined ? controller.signal : AbortSignal.any([signal, controller.signal]);
      const pid = await startTask(record, { task, snapshotter, pod, taskSpec }, either);
      const running = { ...record, state: 'running' as const, pid, startedAtNs: nowNs(), bootId };
      await transitions.change(running);
      lifetimes.watch(running);
    } catch (error) {
      await failStart(record, error);
      throw error;
    } finally {
      starting.delete(id);
      end();
    }
  }

  /** A container that can't be started is an exited one, with the runtime's words for whoever asks why. */
  async function failStart(record: ContainerRecord, error: unknown): Promise<void> {
    await transitions.change(startErrorRecord(record, messageOf(error)));
    try {
      await lifetimes.release(record);
    } catch (releaseError) {
      const message = `what a failed start left could not be removed: ${messageOf(releaseError)}`;
      log.error({ container: record.id, pod: record.podId, err: releaseError }, message);
    }
  }

  async function stop(unsafeId: string, timeoutSeconds: number, signal?: AbortSignal): Promise<void> {
    const id = records.find(unsafeId)?.id;
    if (id === undefined) return;
    const start = starting.get(id);
    if (start) {
      start.cancel(new CairnError('Cancelled', `container ${id} was stopped while it was started`));
      const patienceMs = timeoutSeconds * 1000 + CANCELLED_START_MS;
      if (!(await stage('container.cancel-start', () => endsWithin(start.ended, patienceMs, signal)))) {
        const message = `container ${id} is being started, and its start could not be cancelled`;
        throw new CairnError('DeadlineExceeded', message, { step: 'container.stop' });
      }
    }
    const record = records.find(id);
    if (record?.state === 'running') await stopTask(record, task, lifetimes.ended(id), timeoutSeconds, signal);
    const stopped = records.find(id);
    // In a PID namespace of its own all processes end with the first one; in another's they are ended by the release.
    if (stopped?.state === 'exited' && sharesPidNamespace(stopped)) {
      await stage('container.release', () => endsWithin(lifetimes.released(stopped), Number.MAX_VALUE, signal));
    }
  }

  async function remove(unsafeId: string): Promise<void> {
    const id = records.find(unsafeId)?.id;
    if (id === undefined) return;
    // Before the lock: a start that hangs must not keep its container from being removed.
    await stop(id, 0);
    using _held = await locks.lock(id);
    await stop(id, 0);
    const record = records.find(id);
    if (!record) return;
    if (record.state === 'exited') await lifetimes.released(record);
    await removeFiles(record, dismantle);
    await transitions.remove(id);
    lifetimes.forget(id);
  }

  async function updateResources(unsafeId: string, update: Resources): Promise<void> {
    const { id } = records.get(unsafeId);
    using _held = await locks.lock(id);
    const record = records.get(id);
    if (record.state !== 'created' && record.state !== 'running') throw wrongState(record, 'given other resources');
    await records.updateResources(id, await updateContainer(record, update, { task, host, log }));
  }

  async function execSync(
    unsafeId: string,
    command: readonly string[],
    timeoutSeconds: number,
    signal?: AbortSignal,
  ): Promise<ExecResult> {
    const record = records.get(unsafeId);
    if (record.state !== 'running') throw wrongState(record, 'entered');
    const spec = await readSpec(record);
    return task.exec(
      record.id,
      { ...spec.process, args: command, terminal: false },
      {
        stdioOwner: stdioOwner(spec),
        timeoutMs: timeoutSeconds * 1000,
        outputBytesMax: EXEC_OUTPUT_BYTES_MAX,
        ...(signal === undefined ? {} : { signal }),
      },
    );
  }

  const measured = <T>(operation: string, work: () => Promise<T>) => timed(series.container, { operation }, work);

  return {
    create: (podId, config, signal) => measured('create', () => creation.create(podId, config, signal)),
    start: (id, signal) => measured('start', () => start(id, signal)),
    stop: (id, timeoutSeconds, signal) => measured('stop', () => stop(id, timeoutSeconds, signal)),
    remove: (id) => measured('remove', () => remove(id)),
    get: (id) => records.get(id),
    list: (filter = {}) => records.list(filter),
    execSync: (id, command, timeoutSeconds, signal) =>
      measured('exec', () => execSync(id, command, timeoutSeconds, signal)),
    ...containerStreams({ records, task }),
    updateResources: (id, update) => measured('update', () => updateResources(id, update)),
    async reopenLog(id) {
      const record = records.get(id);
      if (record.state !== 'running') throw wrongState(record, 'given a new log');
      await task.reopenLog(record.id);
    },
    runtimeSpec: (id) => Promise.resolve(records.get(id)).then(readSpec),
    onTransition: (listener) => transitions.onTransition(listener),
    async reconcile() {
      await mkdir(containersDirectory, { recursive: true, mode: 0o711 });
      await reconcileContainers({ records, transitions, lifetimes, dismantle, log, containersDirectory, bootId });
    },
    async stopAll(podId) {
      await all(records.ofPod(podId).map(({ id }) => stop(id, 0)));
    },
    async removeAll(podId) {
      await all(records.ofPod(podId).map(({ id }) => remove(id)));
    },
    async [Symbol.asyncDispose]() {
      await creation[Symbol.asyncDispose]();
      lifetimes.dispose();
    },
  };
}

/** Waits for all of them, then throws the first failure. */
async function all(works: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(works)) if (result.status === 'rejected') throw result.reason;
}

function wrongState({ id, state, reason }: ContainerRecord, verb: string): CairnError {
  const why = reason === '' ? state : `${state} (${reason})`;
  return new CairnError('FailedPrecondition', `container ${id} is ${why} and can't be ${verb}`, {
    step: 'container.state',
  });
}
