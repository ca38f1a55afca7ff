/**
 * The modules of the daemon, made bottom up; each gets what it needs and nothing else. They are taken apart in reverse
 * order. Then the start: rows and world are brought together, again bottom up, before the first request is answered.
 */
import { join } from 'node:path';
import type { Logger } from '../base/log.ts';
import { VERSION } from '../base/version.ts';
import type { Config } from '../config/index.ts';
import {
  type ContainerService,
  createContainerService,
  loadDefaultAppArmorProfile,
  readHostFacts,
} from '../containers/index.ts';
import { type ContentStore, openContentStore } from '../content/index.ts';
import { createEventService, type EventService } from '../events/index.ts';
import { createImageService, type ImageService } from '../images/index.ts';
import { createNetworkService, type NetworkService } from '../network/index.ts';
import { createPodService, type PodMembers, type PodService } from '../pods/index.ts';
import { createRegistryClient } from '../registry/index.ts';
import { openSnapshotter, type Snapshotter } from '../snapshotter/index.ts';
import { createStatsService, type StatsService } from '../stats/index.ts';
import { openStore, type Store } from '../store/index.ts';
import { createTaskService, type RuntimeHandler, type TaskService } from '../task/index.ts';
import { cgroupSettings } from './cgroup-settings.ts';
import { findProgram } from './find-program.ts';
import { containerRlimits } from './rlimits.ts';

export interface Modules extends AsyncDisposable {
  readonly store: Store;
  readonly content: ContentStore;
  readonly snapshotter: Snapshotter;
  readonly images: ImageService;
  readonly task: TaskService;
  readonly network: NetworkService;
  readonly pods: PodService;
  readonly containers: ContainerService;
  readonly stats: StatsService;
  readonly events: EventService;
  readonly runtimes: ReadonlyMap<string, RuntimeHandler>;
}

/** Opens everything. What fails half-way takes apart what was made. */
export async function openModules(config: Config, log: Logger): Promise<Modules> {
  await using stack = new AsyncDisposableStack();
  const { root: rootDirectory, state: stateDirectory } = config;
  const runtimes = runtimeHandlers(config);
  const { defaultRuntime, logSizeBytesMax } = config.containers;

  const cgroups = await cgroupSettings(config);
  const host = readHostFacts();
  await loadDefaultAppArmorProfile({ parserPath: findProgram('apparmor_parser'), log });
  const store = stack.use(await openStore({ path: join(rootDirectory, 'cairn.db'), log }));
  const content = stack.use(await openContentStore({ rootDirectory, log }));
  const snapshotter = stack.use(await openSnapshotter({ rootDirectory, store, log }));
  const registry = stack.use(
    createRegistryClient({
      configPath: config.registry.configPath,
      ...(config.registry.dockerConfig && { dockerConfigPath: config.registry.dockerConfig }),
      userAgent: `cairn/${VERSION}`,
      log,
    }),
  );
  const images: ImageService = stack.use(
    await createImageService({
      ...{ rootDirectory, store, content, snapshotter, registry, log },
      inUse: (id) => containers.list().find((one) => one.imageId === id || one.volumeImageIds.includes(id))?.id,
      // Without its image no pod with a shared PID namespace can start, so it is nobody's garbage.
      pinnedImages: [...config.images.pinned, ...(config.sandbox.image ? [config.sandbox.image] : [])],
      pullProgressTimeoutMs: config.images.pullProgressTimeoutSeconds * 1000,
      downloadsMax: config.images.downloadsMax,
      unpacksMax: config.images.unpacksMax,
    }),
  );
  const task = stack.use(
    await createTaskService({ stateDirectory, conmonPath: findProgram(config.containers.conmon), log }),
  );
  const { confDir, binDirs, embedded, bridge, subnet, subnet6 } = config.network;
  const network = stack.use(
    await createNetworkService({
      ...{ rootDirectory, confDir, binDirs, log },
      ...(config.network.podCidr && { podCidrBridge: bridge }),
      ...(embedded && { embedded: { name: bridge, bridge, subnet, subnet6 } }),
    }),
  );
  const pods: PodService = stack.use(
    createPodService({
      ...{ store, network, task, log, stateDirectory, runtimes, defaultRuntime },
      netnsDirectory: config.network.netnsDir,
      logsDirectory: join(rootDirectory, 'logs'),
      ...cgroups,
      sandbox: {
        catatonitPath: findProgram(config.sandbox.catatonit),
        ...(config.sandbox.image && { image: { name: config.sandbox.image, images, snapshotter } }),
      },
      members: () => containers,
      oomScoreAdjMin: host.oomScoreAdjMin,
    }),
  );
  const containers: ContainerService & PodMembers = stack.use(
    createContainerService({
      ...{ store, pods, images, snapshotter, task, log, stateDirectory, runtimes, defaultRuntime, host },
      rlimits: containerRlimits(config.containers.rlimits),
      cgroupDriver: cgroups.cgroupDriver,
      cdiSpecDirectories: config.cdi.specDirs,
      ...(logSizeBytesMax > 0 && { logSizeBytesMax }),
    }),
  );
  const stats = stack.use(
    createStatsService({
      ...{ pods, containers, snapshotter, rootDirectory, log },
      ...cgroups,
      imageName: ({ imageId, config: { image } }) => images.find(imageId)?.repoTags[0] ?? image,
    }),
  );
  // Before rows and world are brought together: that is when it hears of what happened while nobody looked.
  const events = stack.use(createEventService({ pods, containers, log }));

  const owned = stack.move();
  const services = { images, task, network, pods, containers, stats, events };
  const modules = { store, content, snapshotter, ...services, runtimes };
  return { ...modules, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Moves every object to the state that is true. The only recovery there is: after a crash, a reboot, an upgrade. */
export async function reconcile({ snapshotter, images, network, pods, containers, events }: Modules): Promise<void> {
  await snapshotter.reconcile();
  await images.reconcile();
  await pods.reconcile();
  await network.collectGarbage();
  await containers.reconcile();
  events.started();
}

function runtimeHandlers({ runtimes, state }: Config): ReadonlyMap<string, RuntimeHandler> {
  const handlers = Object.entries(runtimes).map(([name, { path, root }]): [string, RuntimeHandler] => [
    name,
    { name, path: findProgram(path), rootDirectory: root || join(state, 'runtimes', name) },
  ]);
  return new Map(handlers);
}
