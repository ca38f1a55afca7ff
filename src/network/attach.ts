/**
 * One attachment: a list's plugins run over a pod's namespace (CNI spec 1.1, section 3).
 *
 * ADD hands each plugin the result of the one before. CHECK and DEL hand all of them the last result; DEL runs in
 * reverse order and goes on after a plugin failed, so that as much as possible is given back.
 */
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { stage } from '../base/stages.ts';
import type { NetworkList, PluginConfig } from './conflist.ts';
import type { AttachRequest } from './index.ts';
import type { JsonRecord } from './json.ts';
import type { Command, PluginRunner } from './plugin.ts';
import { formatResult, type PluginResult, parseResult } from './result.ts';
import { hostPortMappings, runtimeConfigFor } from './runtime-config.ts';

/** Pods have one interface of ours; loopback is the namespace's maker's. */
export const INTERFACE_NAME = 'eth0';

/** Runs ADD over all plugins. It undoes nothing: the caller runs `detach` when it throws. */
export async function attach(
  runner: PluginRunner,
  list: NetworkList,
  request: AttachRequest,
  signal: AbortSignal | undefined,
): Promise<PluginResult> {
  let result: PluginResult | undefined;
  for (const plugin of pluginsFor(list, request)) {
    await failpoint(`network.add.${plugin.type}`);
    const previous = result === undefined ? undefined : formatResult(result, list.cniVersion);
    const answer = await runPlugin(runner, callFor('ADD', list, plugin, request, previous), signal);
    result = parseAnswer(list, plugin, answer);
  }
  if (result === undefined) throw new CairnError('FailedPrecondition', `network ${list.name}: no plugin to run`);
  return result;
}

/** Runs CHECK over all plugins, where list and version have it. */
export async function check(
  runner: PluginRunner,
  list: NetworkList,
  request: AttachRequest,
  result: JsonRecord | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (list.disableCheck || list.cniVersion === '0.3.1') return;
  for (const plugin of pluginsFor(list, request)) {
    await runPlugin(runner, callFor('CHECK', list, plugin, request, result), signal);
  }
}

/** Runs DEL over all plugins, then throws the first failure if there was one. */
export async function detach(
  runner: PluginRunner,
  list: NetworkList,
  request: AttachRequest,
  result: JsonRecord | undefined,
): Promise<void> {
  const failures: unknown[] = [];
  for (const plugin of pluginsFor(list, request).toReversed()) {
    await failpoint(`network.del.${plugin.type}`);
    // The version before 0.4.0 knew no result in DEL.
    const previous = list.cniVersion === '0.3.1' ? undefined : result;
    await runPlugin(runner, callFor('DEL', list, plugin, request, previous)).catch((error: unknown) =>
      failures.push(error),
    );
  }
  if (failures.length > 0) throw failures[0];
}

/** A plugin that hangs is named by the stage of whoever waits for it. */
function runPlugin(
  runner: PluginRunner,
  call: Parameters<PluginRunner['run']>[0],
  signal?: AbortSignal,
): Promise<JsonRecord | undefined> {
  const detail = `${call.plugin.type} ${call.command}`;
  return stage('network.plugin', () => runner.run(call, signal), { detail });
}

/**
 * The plugins that have something to do for this pod. portmap and bandwidth do nothing on ADD without a mapping or rate,
 * but cost a process (and portmap's DEL several calls of iptables).
 */
function pluginsFor(list: NetworkList, request: AttachRequest): PluginConfig[] {
  return list.plugins.filter((plugin, index) => {
    // The first plugin makes the result that the others change.
    if (index === 0) return true;
    if (plugin.type === 'portmap') return hostPortMappings(request).length > 0;
    if (plugin.type !== 'bandwidth') return true;
    const hasOwnRate = 'ingressRate' in plugin.settings || 'egressRate' in plugin.settings;
    return hasOwnRate || runtimeConfigFor(plugin, request) !== undefined;
  });
}

function callFor(
  command: Command,
  list: NetworkList,
  plugin: PluginConfig,
  request: AttachRequest,
  previous: JsonRecord | undefined,
): Parameters<PluginRunner['run']>[0] {
  const runtimeConfig = runtimeConfigFor(plugin, request);
  return {
    command,
    plugin,
    network: list.name,
    containerId: request.id,
    netnsPath: request.netnsPath,
    interfaceName: INTERFACE_NAME,
    args: argsFor(request),
    configuration: {
      ...plugin.settings,
      name: list.name,
      cniVersion: list.cniVersion,
      ...(runtimeConfig === undefined ? {} : { runtimeConfig }),
      ...(previous === undefined ? {} : { prevResult: previous }),
    },
  };
}

/** What Kubernetes plugins read from CNI_ARGS; a plugin that knows none of it ignores it. */
function argsFor(request: AttachRequest): string {
  const args = {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: request.podNamespace,
    K8S_POD_NAME: request.podName,
    K8S_POD_INFRA_CONTAINER_ID: request.id,
    K8S_POD_UID: request.podUid,
  };
  for (const [name, value] of Object.entries(args)) {
    if (!/[;=\0]/.test(value)) continue;
    throw new CairnError('InvalidArgument', `${name}: ${JSON.stringify(value)} can't be told to a CNI plugin`, {
      step: 'network.add',
    });
  }
  return Object.entries(args)
    .map(([name, value]) => `${name}=${value}`)
    .join(';');
}

function parseAnswer(list: NetworkList, plugin: PluginConfig, answer: JsonRecord | undefined): PluginResult {
  const where = `network ${list.name}: plugin ${plugin.type}: ADD`;
  if (answer === undefined) throw new CairnError('Unknown', `${where}: printed no result`, { step: 'network.add' });
  try {
    return parseResult(answer);
  } catch (error) {
    if (!(error instanceof CairnError)) throw error;
    throw new CairnError('Unknown', `${where}: ${error.message}`, { step: 'network.add', cause: error });
  }
}
