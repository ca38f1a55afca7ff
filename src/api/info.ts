/** GetInfo. */
import type { Cairn, ICounts } from '../generated/cairn.js';
import type { Handlers } from '../rpc/index.ts';
import type { CairnOptions } from './index.ts';

export function infoHandlers(options: CairnOptions): Handlers<typeof Cairn> {
  const { images, network, daemon, host, runtimes } = options;
  return {
    async getInfo() {
      const { mountpoint, usedBytes, inodesUsed } = await images.filesystemUsage();
      const { ready, reason, message, network: name } = network.status();
      return {
        daemon,
        counts: counts(options),
        storage: { snapshotter: 'overlay', mountpoint, usedBytes, inodesUsed },
        network: { ready, reason, message, name },
        runtimes,
        host,
      };
    },
  };
}

function counts({ pods, containers, images }: CairnOptions): ICounts {
  const podStates = Map.groupBy(pods.list(), ({ state }) => state);
  const containerStates = Map.groupBy(containers.list(), ({ state }) => state);
  return {
    podsReady: podStates.get('ready')?.length,
    podsNotready: podStates.get('notready')?.length,
    containersCreated: containerStates.get('created')?.length,
    containersRunning: containerStates.get('running')?.length,
    containersExited: containerStates.get('exited')?.length,
    images: images.list().length,
  };
}
