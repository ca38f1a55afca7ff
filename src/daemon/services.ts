/** The gRPC services over the modules. */
import { arch, hostname, release } from 'node:os';
import { cairnServices } from '../api/index.ts';
import { VERSION } from '../base/version.ts';
import type { Config } from '../config/index.ts';
import { criServices } from '../cri/index.ts';
import { cgroupMode } from '../linux/index.ts';
import type { Service } from '../rpc/index.ts';
import type { StreamingServer } from '../streaming/index.ts';
import type { Modules } from './modules.ts';
import type { RuntimeInfo } from './runtime-info.ts';

const CGROUP_DRIVER = 'cgroupfs';

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

export async function createServices(options: ServiceOptions): Promise<Service[]> {
  const { config, configFile, runtimes, listen, metricsAddress, streaming } = options;
  const { pods, containers, images, network, stats, events } = options.modules;
  const { root, state, logLevel } = config;
  const { defaultRuntime } = config.containers;
  const cri = criServices({
    ...{ pods, containers, images, network, stats, events, streaming, config, defaultRuntime },
    version: VERSION,
    runtimeHandlers: runtimes.map(({ name, features }) => ({ name, features })),
    cgroupDriver: CGROUP_DRIVER,
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
      cgroupDriver: CGROUP_DRIVER,
    },
    runtimes: runtimes.map(({ name, path, version }) => ({ name, path, version, isDefault: name === defaultRuntime })),
  });
  return [...cri, ...cairn];
}
