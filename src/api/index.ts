/**
 * Cairn's own API (cairn.v1): what the `cairn` command shows and CRI has no call for. As in src/cri, no logic: domain
 * services do the work. Reading a log file is this module's own.
 */
import type { ContainerService } from '../containers/index.ts';
import { Cairn, type IDaemonInfo, type IHostInfo, type IRuntimeHandlerInfo } from '../generated/cairn.js';
import type { ImageService } from '../images/index.ts';
import type { NetworkService } from '../network/index.ts';
import type { PodService } from '../pods/index.ts';
import { type Service, service } from '../rpc/index.ts';
import { imageHandlers } from './images.ts';
import { infoHandlers } from './info.ts';
import { logHandlers } from './logs.ts';
import { requestHandlers } from './requests.ts';

export interface CairnOptions {
  readonly pods: PodService;
  readonly containers: ContainerService;
  readonly images: ImageService;
  readonly network: NetworkService;
  readonly daemon: IDaemonInfo;
  readonly host: IHostInfo;
  readonly runtimes: readonly IRuntimeHandlerInfo[];
}

/** The service of cairn.v1, for `createGrpcServer`. */
export function cairnServices(options: CairnOptions): Service[] {
  const handlers = {
    ...infoHandlers(options),
    ...requestHandlers(),
    ...imageHandlers(options),
    ...logHandlers(options),
  };
  return [service(Cairn, handlers, subject)];
}

/** What of a request may be logged. */
function subject(request: object): object {
  const { containerId, image } = request as { readonly containerId?: string; readonly image?: string };
  return { ...(containerId && { container: containerId }), ...(image && { image }) };
}
