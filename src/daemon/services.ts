/** The gRPC services over the modules. */
import { arch, hostname, release } from 'node:os';
import { cairnServices } from '../api/index.ts';
import { VERSION } from '../base/version.ts';
import type { Config } from '../config/index.ts';
import { criServices, type HandlerInfo } from '../cri/index.ts';
import { cgroupMode } from '../linux/index.ts';
import type { Service } from '../rpc/index.ts';
import type { StreamingServer } from '../streaming/index.ts';
import type { Modules } from './modules.ts';
import type { RuntimeInfo } from './runtime-info.ts';

export interface ServiceOptions {
  readonly modules: Modules;
  readonly streaming: StreamingServer;
  readonly config: Config;
  readonly configFile: string;
  readonly runtimes: readonly RuntimeInfo[];
  /** `unix:///path`. */
  readonly listen: string;
  /** As bound; empty when metrics are off. */
  readonly metricsAddress: string;
}

/** User namespaces need ID-mapped mounts twice: the runtime makes those of volumes, the snapshotter those of layers. */
async function handlerInfo({ name, features }: RuntimeInfo, { snapshotter }: Modules): Promise<HandlerInfo> {
  if (!features.userNamespaces) {
    return { name, features, userNamespaceObstacle: `the runtime ${name} has no ID-mapped mounts (runc: from 1.2 on)` };
  }
  const userNamespaceObstacle = await snapshotter.userNamespaceObstacle();
  if (userNamespaceObstacle === undefined) return { name, features };
  return { name, features: { ...features, userNamespaces: false }, userNamespaceObstacle };
}

export async function createServices(options: ServiceOptions): Promise<Service[]> {
  const { config, configFile, runtimes, listen, metricsAddress, streaming } = options;
  const { pods, containers, images, network, stats, events } = options.modules;
  const { root, state, logLevel } = config;
  const { defaultRuntime } = config.containers;
  const cri = criServices({
    ...{ pods, containers, images, network, stats, events, streaming, config, defaultRuntime },
    version: VERSION,
    runtimeHandlers: await Promise.all(runtimes.map((runtime) => handlerInfo(runtime, options.modules))),
    cgroupDriver: config.cgroup.driver,
  });
  const cairn = cairnServices({
    ...{ pods, containers, images, network },
    daemon: {
      ...{ root, state, listen, metricsAddress, configFile, logLevel },
      version: VERSION,
      startedAt: Date.now() * 1e6,
      pid: process.pid,
      nodeVersion: process.version,
    },
    host: {
      name: hostname(),
      kernel: release(),
      architecture: arch(),
      cgroupVersion: await cgroupMode(),
      cgroupDriver: config.cgroup.driver,
    },
    runtimes: runtimes.map(({ name, path, version }) => ({ name, path, version, isDefault: name === defaultRuntime })),
  });
  return [...cri, ...cairn];
}
