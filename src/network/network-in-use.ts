/**
 * Which network pods attach to now: the first valid file of the configuration directory, followed as it changes, else
 * the embedded network, else none.
 */
import { isCairnError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { type NetworkList, scanDirectory } from './conflist.ts';
import type { EmbeddedNetwork } from './embedded.ts';
import type { EmbeddedOptions } from './index.ts';
import type { PluginRunner } from './plugin.ts';
import { watchDirectory } from './watch.ts';

export interface NetworkInUse extends Disposable {
  /** As of the last look; looks again in the background where the last look may be out of date. */
  readonly current: NetworkView;
  /** Looks now. */
  refresh(): Promise<NetworkView>;
}

export type NetworkView =
  | { readonly kind: 'files'; readonly list: NetworkList; readonly problem: string | undefined }
  | { readonly kind: 'embedded'; readonly embedded: EmbeddedOptions; readonly problem: string | undefined }
  | { readonly kind: 'none'; readonly problem: string };

/** The kubelet asks for the status every few seconds: a view with a problem, or one nobody watches, is looked at anew. */
const STALE_MS = 1000;

export async function followNetworkInUse(options: {
  readonly confDir: string;
  readonly runner: PluginRunner;
  readonly embedded: { readonly options: EmbeddedOptions; readonly network: EmbeddedNetwork } | undefined;
  readonly log: Logger;
}): Promise<NetworkInUse> {
  const { confDir, runner, embedded, log } = options;
  let seenAt = 0;
  let told = '';
  let running: Promise<NetworkView> | undefined;
  let view: NetworkView = { kind: 'none', problem: '' };

  async function look(): Promise<NetworkView> {
    const { list, skipped } = await scanDirectory(confDir);
    view = list ? await viewOfList(list) : await viewWithoutList();
    seenAt = performance.now();
    tell(JSON.stringify([view, skipped]), () => {
      for (const { file, reason } of skipped) log.warn({ file, reason }, 'network configuration skipped');
      if (view.problem) log.warn({ reason: view.problem }, 'the pod network is not ready');
      else log.info({ network: describeNetwork(view) }, 'the pod network is ready');
    });
    return view;
  }

  async function viewOfList(list: NetworkList): Promise<NetworkView> {
    const missing = await missingPlugin(list.plugins.map(({ type }) => type));
    const problem = missing === undefined ? undefined : `network ${list.name} (${list.source}): ${missing}`;
    return { kind: 'files', list, problem };
  }

  async function viewWithoutList(): Promise<NetworkView> {
    if (embedded === undefined) {
      return {
        kind: 'none',
        problem:
          `no valid CNI configuration in ${confDir}: install a network there, ` +
          'or set [network] embedded = true to use the one that Cairn brings along',
      };
    }
    const missing = await missingPlugin(['bridge', 'host-local', 'portmap']);
    const problem = missing ?? (await embedded.network.problem());
    return { kind: 'embedded', embedded: embedded.options, problem };
  }

  async function missingPlugin(types: readonly string[]): Promise<string | undefined> {
    for (const type of types) {
      if ((await runner.find(type)) === undefined) return `plugin ${type} is in none of the directories of plugins`;
    }
    return undefined;
  }

  /** Says what is new, once. */
  function tell(state: string, say: () => void): void {
    if (state === told) return;
    told = state;
    say();
  }

  /** One look at a time; who asks while one runs may need what changed since it began, and so gets the next. */
  async function refresh(): Promise<NetworkView> {
    await running?.catch(() => undefined);
    running ??= look().finally(() => {
      running = undefined;
    });
    return running;
  }

  async function refreshQuietly(): Promise<void> {
    try {
      await refresh();
    } catch (error) {
      if (!isCairnError(error)) throw error;
      view = { kind: 'none', problem: error.message };
      tell(error.message, () => log.warn({ reason: error.message }, 'the pod network is not ready'));
    }
  }

  const watch = await watchDirectory({ directory: confDir, log, onChange: refreshQuietly });
  await refreshQuietly();
  return {
    get current() {
      const uncertain = view.problem !== undefined || !watch.watching;
      if (uncertain && running === undefined && performance.now() - seenAt > STALE_MS) void refreshQuietly();
      return view;
    },
    refresh,
    [Symbol.dispose]() {
      watch[Symbol.dispose]();
    },
  };
}

/** The network's name and where it came from; undefined when there is none. */
export function describeNetwork(view: NetworkView): string | undefined {
  if (view.kind === 'files') return `${view.list.name} (${view.list.source})`;
  return view.kind === 'embedded' ? `${view.embedded.name} (embedded, bridge ${view.embedded.bridge})` : undefined;
}
