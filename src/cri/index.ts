/**
 * The CRI (runtime.v1): requests are checked and turned into the domain's terms, answers and errors into CRI's. No other
 * logic lives here.
 *
 * IDs may be given as unambiguous prefixes wherever one object is meant. Stop, Remove and RemoveImage succeed when there
 * is nothing to do; an image that is not here has an empty ImageStatus. What is still being created is listed nowhere.
 */
import { existsSync } from 'node:fs';
import type { Container, ContainerService } from '../containers/index.ts';
import type { EventService } from '../events/index.ts';
import { ImageService as ImageApi, RuntimeService as RuntimeApi } from '../generated/cri.js';
import type { ImageService } from '../images/index.ts';
import type { NetworkService } from '../network/index.ts';
import type { PodService } from '../pods/index.ts';
import { type Service, service } from '../rpc/index.ts';
import type { StatsService } from '../stats/index.ts';
import type { StreamingServer } from '../streaming/index.ts';
import { containerHandlers } from './containers.ts';
import { eventHandlers } from './events.ts';
import { execHandlers } from './exec.ts';
import { imageHandlers } from './images.ts';
import { nodeHandlers } from './node.ts';
import { sandboxHandlers } from './sandboxes.ts';
import { statsHandlers } from './stats.ts';
import { streamHandlers } from './streams.ts';
import { subject } from './subject.ts';

export interface HandlerInfo {
  /** The key of `[runtimes.NAME]`. */
  readonly name: string;
  readonly features: { readonly recursiveReadOnlyMounts: boolean; readonly userNamespaces: boolean };
  /** Why `userNamespaces` is false. */
  readonly userNamespaceObstacle?: string;
}

export interface CriOptions {
  readonly pods: PodService;
  readonly containers: ContainerService;
  readonly images: ImageService;
  readonly network: NetworkService;
  readonly stats: StatsService;
  readonly events: EventService;
  readonly streaming: StreamingServer;
  /** Of Cairn. */
  readonly version: string;
  readonly runtimeHandlers: readonly HandlerInfo[];
  readonly defaultRuntime: string;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  /** The configuration in effect, shown by `crictl info`. It holds no secrets. */
  readonly config: object;
  /** Where SELinux is, labels that Cairn would not apply are refused. Looked up by default. */
  readonly selinuxEnabled?: boolean;
}

/** What the handlers work with. */
export interface CriContext extends CriOptions {
  readonly selinuxEnabled: boolean;
  /** The image's own names, for a container's status. */
  imageNames(container: Container): { readonly name: string; readonly reference: string };
}

/** Both services of the CRI, for `createGrpcServer`. */
export function criServices(options: CriOptions): Service[] {
  const context: CriContext = {
    ...options,
    selinuxEnabled: options.selinuxEnabled ?? existsSync('/sys/fs/selinux/enforce'),
    imageNames({ imageId, config }) {
      const image = options.images.find(imageId);
      return { name: image?.repoTags[0] ?? config.image, reference: image?.repoDigests[0] ?? imageId };
    },
  };
  const runtime = {
    ...nodeHandlers(context),
    ...sandboxHandlers(context),
    ...containerHandlers(context),
    ...execHandlers(context),
    ...streamHandlers(context),
    ...statsHandlers(context),
    ...eventHandlers(context),
  };
  return [service(RuntimeApi, runtime, subject), service(ImageApi, imageHandlers(context), subject)];
}
