/** The network service: see index.ts. */
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, isCairnError, messageOf, throwIfAborted } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { KeyedMutex, Semaphore } from '../base/locks.ts';
import { series, timed } from '../base/metrics.ts';
import { attach, check, detach } from './attach.ts';
import { type Attachment, openAttachmentCache } from './cache.ts';
import { collectGarbage, hasGarbageCollection } from './collect.ts';
import type { NetworkList } from './conflist.ts';
import { createEmbeddedNetwork } from './embedded.ts';
import type { AttachRequest, AttachResult, NetworkService, NetworkServiceOptions, NetworkStatus } from './index.ts';
import { describeNetwork, followNetworkInUse } from './network-in-use.ts';
import { endOrphanedPlugins } from './orphans.ts';
import { createPluginRunner } from './plugin.ts';
import { keepPodCidrs, parsePodCidrs, writePodCidrNetwork } from './pod-cidrs.ts';
import { formatResult, podAddresses } from './result.ts';

const PLUGIN_TIMEOUT_MS = 60_000;
const NOT_READY = 'NetworkPluginNotReady';
/** CNI spec 1.1, CNI_CONTAINERID; it also becomes a file name. */
const ATTACHMENT_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;
/** statfs types of a namespace: nsfs, and proc on old kernels. */
const NAMESPACE_FILESYSTEMS: readonly number[] = [0x6e736673, 0x9fa0];

export async function createNetworkService(options: NetworkServiceOptions): Promise<NetworkService> {
  const log = options.log.child({ module: 'network' });
  const directory = join(options.rootDirectory, 'network');
  const runner = createPluginRunner({
    binDirs: options.binDirs,
    timeoutMs: options.pluginTimeoutMs ?? PLUGIN_TIMEOUT_MS,
  });
  const cache = await openAttachmentCache(join(directory, 'attachments'));
  const embedded = options.embedded && {
    options: options.embedded,
    network: createEmbeddedNetwork({
      embedded: options.embedded,
      dataDirectory: join(directory, 'addresses'),
      owner: options.rootDirectory,
      log,
    }),
  };
  await endOrphanedPlugins(await cache.incomplete(), log);
  const inUse = await followNetworkInUse({ confDir: options.confDir, runner, embedded, log });
  const sandboxes = new KeyedMutex();
  /** Held by who prepares the host or takes the network off it. */
  const host = new Semaphore(1);
  let adding = 0;

  function status(): NetworkStatus {
    const view = inUse.current;
    const network = describeNetwork(view);
    if (view.problem === undefined) return { ready: true, reason: '', message: '', network };
    return { ready: false, reason: NOT_READY, message: view.problem, network };
  }

  /** The list to attach with, the host prepared for it. */
  async function listInUse(signal: AbortSignal | undefined): Promise<NetworkList> {
    const seen = inUse.current;
    const view = seen.problem === undefined ? seen : await inUse.refresh();
    if (view.problem !== undefined || view.kind === 'none') {
      throw new CairnError('FailedPrecondition', `${NOT_READY}: ${view.problem}`, { step: 'network.add' });
    }
    if (view.kind === 'files') return view.list;
    if (!embedded) throw new Error('an embedded network in use that is not configured');
    using _held = await host.acquire(signal);
    return embedded.network.ensure(() => cache.ids());
  }

  async function add(request: AttachRequest, signal: AbortSignal | undefined): Promise<AttachResult> {
    const { id } = request;
    if (!ATTACHMENT_ID.test(id)) {
      throw new CairnError('InvalidArgument', `${JSON.stringify(id)} can't be a CNI container ID`, {
        step: 'network.add',
      });
    }
    using _held = await sandboxes.lock(id, signal);
    const earlier = await cache.get(id);
    if (earlier?.result !== undefined) {
      throw new CairnError('AlreadyExists', `sandbox ${id} is attached already`, { step: 'network.add' });
    }
    if (earlier !== undefined) await release(earlier, request);

    adding++;
    using _adding = { [Symbol.dispose]: () => adding-- };
    const list = await listInUse(signal);
    await cache.begin(request, list);
    try {
      throwIfAborted(signal, 'network.add');
      const result = await attach(runner, list, request, signal);
      const ips = podAddresses(result);
      if (ips.length === 0) {
        throw new CairnError('Unknown', `network ${list.name}: the plugins gave the pod no address`, {
          step: 'network.add',
        });
      }
      const raw = formatResult(result, list.cniVersion);
      await cache.complete(id, raw);
      await failpoint('network.add.done');
      if (list.source === 'embedded') await embedded?.network.claim();
      return { ips, raw };
    } catch (error) {
      await undo({ request, list, result: undefined });
      throw error;
    }
  }

  /** Takes back a failed ADD. What can't be taken back stays in the cache, for the caller's `remove`. */
  async function undo(attachment: Attachment): Promise<void> {
    try {
      await release(attachment, attachment.request);
    } catch (error) {
      const { id, podName: pod } = attachment.request;
      log.error({ sandbox: id, pod, reason: messageOf(error) }, 'a failed network ADD could not be undone completely');
    }
  }

  /** DEL with the configuration of the attachment and the namespace as it is now; then forgets it. */
  async function release(attachment: Attachment, now: AttachRequest): Promise<void> {
    const netnsPath = (await isNamespace(now.netnsPath)) ? now.netnsPath : '';
    await detach(runner, attachment.list, { ...attachment.request, netnsPath }, attachment.result);
    await cache.remove(now.id);
  }

  async function remove(request: AttachRequest): Promise<void> {
    using _held = await sandboxes.lock(request.id);
    const attachment = await readOrGuess(request);
    // The entry is durable before the first plugin runs: without one there is nothing to take back.
    if (attachment !== undefined) await release(attachment, request);
  }

  /** The cached attachment; when it can't be read, the best guess is the network in use now. */
  async function readOrGuess(request: AttachRequest): Promise<Attachment | undefined> {
    try {
      return await cache.get(request.id);
    } catch (error) {
      if (!isCairnError(error, 'DataLoss')) throw error;
      log.error({ sandbox: request.id, reason: error.message }, 'DEL runs with the network in use now');
      return { request, list: await listInUse(undefined), result: undefined };
    }
  }

  async function attachments(): Promise<AttachRequest[]> {
    const ids = await cache.ids();
    return Promise.all(
      ids.map(async (id) => {
        try {
          return (await cache.get(id))?.request ?? unknownRequest(id);
        } catch (error) {
          if (!isCairnError(error, 'DataLoss')) throw error;
          return unknownRequest(id);
        }
      }),
    );
  }

  return {
    status,
    add: (request, signal) => timed(series.cni, { operation: 'add' }, () => add(request, signal)),
    remove: (request) => timed(series.cni, { operation: 'remove' }, () => remove(request)),
    check: (request, signal) =>
      timed(series.cni, { operation: 'check' }, async () => {
        using _held = await sandboxes.lock(request.id, signal);
        const attachment = await cache.get(request.id);
        if (attachment === undefined) {
          throw new CairnError('NotFound', `sandbox ${request.id} is not attached`, { step: 'network.check' });
        }
        const now = { ...attachment.request, netnsPath: request.netnsPath };
        await check(runner, attachment.list, now, attachment.result, signal);
      }),
    attachments,
    async collectGarbage() {
      const { current } = inUse;
      if (current.kind !== 'files' || current.problem !== undefined || !hasGarbageCollection(current.list)) return;
      using _held = await host.acquire();
      if (adding > 0) throw new Error('garbage collection while a pod is being attached would take its address');
      await collectGarbage(runner, current.list, await cache.ids(), log);
    },
    async setPodCidrs(cidrs) {
      const subnets = parsePodCidrs(cidrs);
      await keepPodCidrs(directory, cidrs);
      const { confDir, podCidrBridge } = options;
      if (podCidrBridge === undefined || embedded !== undefined) return;
      const network = { confDir, bridge: podCidrBridge, dataDirectory: join(directory, 'addresses'), subnets };
      const file = await writePodCidrNetwork(network);
      if (file === undefined) return;
      log.info({ file, cidrs }, 'wrote a network for the pod CIDRs: there was none');
      await inUse.refresh();
    },
    async teardown() {
      if (!embedded) return;
      using _held = await host.acquire();
      const attached = (await cache.ids()).length;
      if (attached + adding > 0) {
        throw new CairnError('FailedPrecondition', `pods (${attached + adding}) are still attached to the network`, {
          step: 'network.teardown',
        });
      }
      await embedded.network.teardown();
    },
    async [Symbol.asyncDispose]() {
      inUse[Symbol.dispose]();
    },
  };
}

/** After a reboot the pin may be gone, or be an empty file on which nothing is mounted. */
async function isNamespace(path: string): Promise<boolean> {
  if (path === '') return false;
  return statfs(path).then(
    ({ type }) => NAMESPACE_FILESYSTEMS.includes(type),
    () => false,
  );
}

function unknownRequest(id: string): AttachRequest {
  return {
    id,
    netnsPath: '',
    podName: '',
    podNamespace: '',
    podUid: '',
    portMappings: [],
    cgroupParent: '',
    annotations: {},
    dns: { servers: [], searches: [], options: [] },
  };
}
