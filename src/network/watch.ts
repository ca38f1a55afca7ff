/**
 * Tells when a directory may have changed, also one that does not exist yet.
 *
 * Until the directory exists its nearest existing ancestor is watched. Each burst of events ends in one call; the watch
 * is set up anew before that call, so that a change while the caller reads leads to another one.
 */
import { type FSWatcher, watch } from 'node:fs';
import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';

export interface DirectoryWatch extends Disposable {
  /** False when the kernel refused (its inotify limits are used up): the caller must look by itself. */
  readonly watching: boolean;
}

/** Editors and installers write in bursts, and a file that is half written should not be read. */
const SETTLE_MS = 100;

export async function watchDirectory(options: {
  readonly directory: string;
  readonly log: Logger;
  readonly onChange: () => Promise<void>;
}): Promise<DirectoryWatch> {
  const { directory, log, onChange } = options;
  let watcher: FSWatcher | undefined;
  let timer: NodeJS.Timeout | undefined;
  let disposed = false;

  async function arm(): Promise<void> {
    const target = await nearestExisting(directory);
    disarm();
    if (disposed) return;
    try {
      watcher = watch(target, { persistent: false }, settle);
      watcher.on('error', (error) => lost(target, error));
    } catch (error) {
      lost(target, error);
    }
  }

  function lost(target: string, error: unknown): void {
    disarm();
    log.warn(
      { directory: target, reason: messageOf(error) },
      'cannot watch the directory: it is read again on demand; fs.inotify.max_user_watches or max_user_instances may be too low',
    );
  }

  function disarm(): void {
    watcher?.close();
    watcher = undefined;
  }

  function settle(): void {
    if (disposed) return;
    timer ??= setTimeout(async () => {
      timer = undefined;
      await arm();
      if (!disposed) await onChange();
    }, SETTLE_MS);
    timer.unref();
  }

  await arm();
  return {
    get watching() {
      return watcher !== undefined;
    },
    [Symbol.dispose]() {
      disposed = true;
      clearTimeout(timer);
      disarm();
    },
  };
}

async function nearestExisting(path: string): Promise<string> {
  for (let candidate = path; ; candidate = dirname(candidate)) {
    const found = await stat(candidate).catch(() => undefined);
    if (found?.isDirectory() || candidate === '/') return candidate;
  }
}
