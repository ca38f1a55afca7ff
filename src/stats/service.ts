/** The stats service: see index.ts for its contract. */
import { Semaphore } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import type { Container, ContainerService } from '../containers/index.ts';
import type { CgroupDriver, Pod, PodService } from '../pods/index.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import type { CgroupDirectories } from './cgroup-files.ts';
import { cgroupDirectories, cgroupOf } from './cgroup-place.ts';
import { NO_USAGE, nowNs, readCgroupUsage, sumUsage } from './cgroup-usage.ts';
import { CpuWindows } from './cpu-window.ts';
import type {
  ContainerStats,
  ContainerStatsFilter,
  LayerStats,
  NetworkStats,
  PodMetrics,
  PodStats,
  StatsService,
} from './index.ts';
import { LayerSizes } from './layer-sizes.ts';
import { readContainerMetrics } from './metrics/container-metrics.ts';
import { DESCRIPTORS } from './metrics/descriptors.ts';
import { MetricList } from './metrics/metric-list.ts';
import { addPodMetrics } from './metrics/pod-metrics.ts';
import { defaultInterface, readInterfaces } from './network.ts';
import { readProcesses } from './processes.ts';

export interface StatsServiceOptions {
  readonly pods: PodService;
  readonly containers: ContainerService;
  readonly snapshotter: Pick<Snapshotter, 'usage'>;
  /** The daemon's root: containers' layers are on its file system. */
  readonly rootDirectory: string;
  /** Where pods go that name no parent: a cgroup that they share. */
  readonly defaultCgroupParent: string;
  readonly cgroupDriver?: CgroupDriver;
  /** The name of a container's image, for the label of metrics. */
  readonly imageName: (container: Container) => string;
  readonly log: Logger;
}

/** Pods or containers in one answer of a stream. */
const BATCH = 16;
/** Read at a time: each is some twenty files, and what is asked of libuv's threads at once also comes back at once. */
const AT_ONCE_MAX = 2;

export function createStatsService(options: StatsServiceOptions): StatsService {
  return new Stats(options);
}

class Stats implements StatsService {
  readonly #options: StatsServiceOptions;
  readonly #driver: CgroupDriver;
  readonly #windows = new CpuWindows();
  readonly #layers: LayerSizes;
  readonly #listeners: Disposable[];

  constructor(options: StatsServiceOptions) {
    const { pods, containers, snapshotter } = options;
    this.#options = options;
    this.#driver = options.cgroupDriver ?? 'cgroupfs';
    this.#layers = new LayerSizes(snapshotter, options.log.child({ module: 'stats' }));
    this.#listeners = [
      containers.onTransition(({ id, to }) => {
        if (to === 'exited') this.#layers.expire(id);
        if (to === 'exited' || to === 'removed') this.#windows.forget(id);
        if (to === 'removed') this.#layers.forget(id);
      }),
      pods.onTransition(({ id, to }) => {
        if (to === 'notready' || to === 'removed') this.#windows.forget(id);
      }),
    ];
  }

  async container(id: string): Promise<ContainerStats> {
    const container = this.#options.containers.get(id);
    return await this.#containerStats(container, this.#podOf(container));
  }

  async *containers(filter: ContainerStatsFilter): AsyncGenerator<ContainerStats[], void, undefined> {
    const selected = this.#options.containers.list({ ...filter, state: 'running' });
    yield* inBatches(selected, (container) => this.#containerStats(container, this.#podOf(container)));
  }

  async pod(id: string): Promise<PodStats> {
    return await this.#podStats(this.#options.pods.get(id));
  }

  async *pods(filter: { readonly id?: string; readonly labels?: Readonly<Record<string, string>> }) {
    const selected = this.#options.pods.list({ ...filter, state: 'ready' });
    yield* inBatches(selected, (pod) => this.#podStats(pod));
  }

  metricDescriptors() {
    return DESCRIPTORS;
  }

  async *metrics(): AsyncGenerator<PodMetrics[], void, undefined> {
    yield* inBatches(this.#options.pods.list({ state: 'ready' }), (pod) => this.#podMetrics(pod));
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener[Symbol.dispose]();
    this.#layers.dispose();
  }

  async #containerStats(container: Container, pod: Pod | undefined): Promise<ContainerStats> {
    const [usage, writableLayer] = await Promise.all([this.#containerUsage(container, pod), this.#layer(container)]);
    return { container, ...usage, writableLayer };
  }

  async #containerUsage(container: Container, pod: Pod | undefined) {
    if (container.state !== 'running' || pod === undefined) return NO_USAGE;
    const cgroup = await this.#cgroupOf(container.id, pod);
    const key = { windows: this.#windows, id: container.id, sinceNs: container.startedAtNs };
    return await readCgroupUsage(cgroup, key);
  }

  async #layer(container: Container): Promise<LayerStats | undefined> {
    const size = await this.#layers.get(container.id, container.state === 'exited');
    return size && { ...size, mountpoint: this.#options.rootDirectory };
  }

  async #podStats(pod: Pod): Promise<PodStats> {
    const members = this.#runningIn(pod);
    const [containers, network, processes, own] = await Promise.all([
      Promise.all(members.map((container) => this.#containerStats(container, pod))),
      this.#network(pod, members),
      this.#processes(pod, members),
      this.#ownUsage(pod),
    ]);
    const { cpu, memory, io } = own ?? (await this.#sharedUsage(pod, containers));
    return { pod, cpu, memory, io, network, processes, containers };
  }

  /** Undefined when the pod's cgroup is not its own. */
  async #ownUsage(pod: Pod) {
    const cgroup = await this.#ownCgroup(pod);
    return cgroup && (await readCgroupUsage(cgroup, this.#podWindow(pod)));
  }

  async #ownCgroup(pod: Pod): Promise<CgroupDirectories | undefined> {
    const { pods, defaultCgroupParent } = this.#options;
    const { cgroupParent } = pod.config;
    if (pod.state !== 'ready' || cgroupParent === defaultCgroupParent) return undefined;
    const sharers = pods.list({ state: 'ready' }).filter(({ config }) => config.cgroupParent === cgroupParent);
    return sharers.length > 1 ? undefined : await cgroupDirectories(cgroupParent);
  }

  async #sharedUsage(pod: Pod, containers: readonly ContainerStats[]) {
    if (pod.state !== 'ready') return NO_USAGE;
    const init = { windows: this.#windows, id: `${pod.id} init`, sinceNs: pod.createdAtNs };
    const parts = [...containers];
    const ofInit = pod.namespaces.pid && (await readCgroupUsage(await this.#cgroupOf(pod.id, pod), init));
    return sumUsage(ofInit ? [...parts, ofInit] : parts, this.#podWindow(pod));
  }

  async #network(pod: Pod, members: readonly Container[]): Promise<NetworkStats | undefined> {
    const { network } = pod.namespaces;
    if (network === undefined || pod.state !== 'ready') return undefined;
    const interfaces = await readInterfaces(pidsOf(members), network);
    const first = interfaces && defaultInterface(interfaces);
    if (!first) return undefined;
    const others = interfaces.filter((one) => one !== first);
    return { atNs: nowNs(), defaultInterface: first, interfaces: others };
  }

  async #processes(pod: Pod, members: readonly Container[]): Promise<PodStats['processes']> {
    if (pod.state !== 'ready') return undefined;
    const ids = [...members.map(({ id }) => id), ...(pod.namespaces.pid === undefined ? [] : [pod.id])];
    const lists = await Promise.all(ids.map(async (id) => readProcesses(await this.#cgroupOf(id, pod))));
    return { atNs: nowNs(), count: lists.reduce((count, pids) => count + pids.length, 0) };
  }

  async #podMetrics(pod: Pod): Promise<PodMetrics> {
    const { rootDirectory, imageName } = this.#options;
    const members = this.#runningIn(pod);
    const [ownCgroup, network, containers] = await Promise.all([
      this.#ownCgroup(pod),
      this.#network(pod, members),
      Promise.all(
        members.map(async (container) => {
          const [cgroup, layer] = await Promise.all([this.#cgroupOf(container.id, pod), this.#layer(container)]);
          const image = imageName(container);
          const metrics = await readContainerMetrics({ pod, container, image, cgroup, layer, rootDirectory });
          return { containerId: container.id, metrics };
        }),
      ),
    ]);
    const { namespace, name } = pod.config.metadata;
    const list = new MetricList({ container: '', id: pod.id, image: '', namespace, pod: name });
    await addPodMetrics(list, ownCgroup, network);
    return { podId: pod.id, metrics: list.metrics, containers };
  }

  #podWindow(pod: Pod) {
    return { windows: this.#windows, id: pod.id, sinceNs: pod.createdAtNs };
  }

  #cgroupOf(id: string, pod: Pod): Promise<CgroupDirectories> {
    return cgroupDirectories(cgroupOf(this.#driver, pod.config.cgroupParent, id));
  }

  #runningIn(pod: Pod): Container[] {
    return this.#options.containers.list({ podId: pod.id, state: 'running' });
  }

  /** Undefined when it is removed at this moment. */
  #podOf({ podId }: Container): Pod | undefined {
    return this.#options.pods.list({ id: podId })[0];
  }
}

async function* inBatches<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
): AsyncGenerator<R[], void, undefined> {
  const places = new Semaphore(AT_ONCE_MAX);
  const inTurn = async (item: T) => {
    using _place = await places.acquire();
    return await work(item);
  };
  for (let start = 0; start < items.length; start += BATCH) {
    yield await Promise.all(items.slice(start, start + BATCH).map(inTurn));
  }
}

function pidsOf(containers: readonly Container[]): number[] {
  return containers.flatMap(({ pid }) => pid ?? []);
}
