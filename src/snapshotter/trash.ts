/**
 * Throwing trees away without waiting: a rename takes them out of sight, a worker thread deletes them. What a crash leaves
 * in the trash goes at the next start.
 */
import { lstat, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, messageOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { newId } from '../base/ids.ts';
import type { Logger } from '../base/log.ts';
import { unmount } from '../linux/index.ts';

export interface TrashOptions {
  readonly directory: string;
  /** Deletes a tree, in a worker. */
  readonly remove: (path: string) => Promise<void>;
  readonly log: Logger;
}

export class Trash {
  readonly #options: TrashOptions;
  readonly #deleting = new Set<Promise<void>>();

  constructor(options: TrashOptions) {
    this.#options = options;
  }

  /** The path is free when it resolves; no error when nothing was there. */
  async discard(path: string): Promise<void> {
    const gone = join(this.#options.directory, newId());
    await failpoint('snapshotter.trash.rename');
    try {
      await rename(path, gone);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      throw error;
    }
    this.#delete(gone);
  }

  /** All that was discarded so far is deleted (or its failure logged). */
  async emptied(): Promise<void> {
    await Promise.all(this.#deleting);
  }

  /** At start: deletes what an earlier life left behind. */
  async takeUp(): Promise<void> {
    for (const name of await readdir(this.#options.directory)) this.#delete(join(this.#options.directory, name));
  }

  #delete(path: string): void {
    const deletion = this.#tryDelete(path).finally(() => this.#deleting.delete(deletion));
    this.#deleting.add(deletion);
  }

  async #tryDelete(path: string): Promise<void> {
    try {
      // A crash during mending leaves a mount behind; deleting through it would reach other snapshots.
      while (await unmount(join(path, 'view'), { detach: true }));
      await this.#options.remove(path);
    } catch (error) {
      const left = await lstat(path).catch(() => undefined);
      if (!left) return;
      this.#options.log.warn(
        { path, error: messageOf(error) },
        'a removed snapshot could not be deleted; the next start tries again',
      );
    }
  }
}
