/**
 * Garbage collection (CNI spec 1.1, section 3, "GC"): the plugins of a network are told which attachments there are, and
 * give back what they hold for others: that finds what a DEL can't, because no cache remembers the pod. (The reference
 * plugins up to 1.9 accept GC and have nothing to do for it; others act on it.)
 */
import { CairnError, messageOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { Logger } from '../base/log.ts';
import { INTERFACE_NAME } from './attach.ts';
import type { NetworkList } from './conflist.ts';
import type { PluginRunner } from './plugin.ts';

/** Plugins speak GC from this version of the spec on; a list may say that it is not to be run. */
export function hasGarbageCollection(list: NetworkList): boolean {
  return list.cniVersion === '1.1.0' && !list.disableGc;
}

/** All plugins are run, also after one failed; what failed is logged. True when nothing did. */
export async function collectGarbage(
  runner: PluginRunner,
  list: NetworkList,
  attachedIds: readonly string[],
  log: Logger,
): Promise<boolean> {
  const valid = attachedIds.map((containerID) => ({ containerID, ifname: INTERFACE_NAME }));
  let isClean = true;
  for (const plugin of list.plugins) {
    await failpoint(`network.gc.${plugin.type}`);
    try {
      await runner.run({
        command: 'GC',
        plugin,
        network: list.name,
        containerId: '',
        netnsPath: '',
        interfaceName: '',
        args: '',
        configuration: {
          ...plugin.settings,
          name: list.name,
          cniVersion: list.cniVersion,
          'cni.dev/valid-attachments': valid,
        },
      });
    } catch (error) {
      if (!(error instanceof CairnError)) throw error;
      isClean = false;
      log.warn(
        { network: list.name, plugin: plugin.type, reason: messageOf(error) },
        'network garbage collection failed',
      );
    }
  }
  return isClean;
}
