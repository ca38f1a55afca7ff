/**
 * Takes apart what a sandbox is made of, in the reverse order of its making. One way for all: the undoing of a failed run, of
 * one that a crash interrupted, and the ordinary stop. Every step is safe to repeat and needs nothing of the others.
 */
import { rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { messageOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { Logger } from '../base/log.ts';
import { stage } from '../base/stages.ts';
import { removeNamespace, unmount } from '../linux/index.ts';
import type { NetworkService } from '../network/index.ts';
import { podFiles } from './files.ts';
import type { PodInit } from './init.ts';
import { isPinned, type PinPaths } from './namespaces.ts';
import { attachRequest } from './network-request.ts';
import type { PodRecord } from './records.ts';

export interface DismantleOptions {
  readonly network: NetworkService;
  readonly init: PodInit;
  readonly log: Logger;
  readonly logsDirectory: string;
  pinPaths(record: PodRecord): PinPaths;
}

export class Dismantler {
  readonly #options: DismantleOptions;

  constructor(options: DismantleOptions) {
    this.#options = options;
  }

  /** All but the directory. Goes on after a failure and throws the first at the end. */
  async dismantle(record: PodRecord): Promise<void> {
    const { network, init, log } = this.#options;
    const { config, directory } = record;
    const pins = this.#options.pinPaths(record);
    const failures: unknown[] = [];
    const step = async (name: string, work: () => Promise<unknown>) => {
      try {
        await stage(name, async () => {
          await failpoint(name);
          await work();
        });
        return true;
      } catch (error) {
        const message = `pod ${record.id}: ${name} failed: ${messageOf(error)}`;
        log.error({ pod: record.id, step: name, err: error }, message);
        failures.push(error);
        return false;
      }
    };
    if (config.namespaces.pid === 'pod') await step('pod.init.remove', () => init.remove(record));
    if (config.namespaces.network !== 'node') {
      const detached = await step('pod.network.remove', async () => {
        const netnsPath = (await isPinned(pins.network)) ? pins.network : '';
        await network.remove(attachRequest(record, netnsPath));
      });
      // The plugins' next attempt needs the namespace.
      if (detached) await step('pod.network.unpin', () => removeNamespace(pins.network));
    }
    await step('pod.namespaces.unpin', () =>
      Promise.all([pins.pid, pins.ipc, pins.uts, pins.user].map(removeNamespace)),
    );
    await step('pod.shm.unmount', () => unmount(podFiles(directory).shm, { detach: true }));
    if (failures.length > 0) throw failures[0];
  }

  /** The sandbox's directory, and the logs where they are Cairn's own. */
  async removeDirectories({ directory, config }: PodRecord): Promise<void> {
    await failpoint('pod.directory.remove');
    const { logDirectory } = config;
    if (logDirectory !== '' && dirname(resolve(logDirectory)) === this.#options.logsDirectory) {
      await rm(logDirectory, { recursive: true, force: true });
    }
    await rm(directory, { recursive: true, force: true });
  }
}
