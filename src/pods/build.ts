/** Makes what a sandbox is made of: namespaces, then the network, with the files beside them, then the init process. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, errnoOf, messageOf, throwIfAborted } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { stage } from '../base/stages.ts';
import type { AttachResult, NetworkService } from '../network/index.ts';
import { makeHostsFile, makePodFiles } from './files.ts';
import type { Pod } from './index.ts';
import type { PodInit } from './init.ts';
import { ownNamespaces, type PinPaths, pinNamespaces } from './namespaces.ts';
import { attachRequest } from './network-request.ts';
import type { PodRecord } from './records.ts';

export interface BuildOptions {
  readonly network: NetworkService;
  readonly init: PodInit;
  pinPaths(record: PodRecord): PinPaths;
}

/** The record as `ready`. What it throws half-way is undone by the caller (`Dismantler`). */
export async function buildSandbox(
  record: PodRecord,
  options: BuildOptions,
  signal: AbortSignal | undefined,
): Promise<PodRecord> {
  const { config, directory } = record;
  const pins = options.pinPaths(record);
  // The directory comes first: it tells at the next start that the pins are this daemon's own.
  await failpoint('pod.directory.make');
  await mkdir(join(directory, 'ns'), { recursive: true, mode: 0o711 });
  if (config.logDirectory !== '') await makeLogDirectory(config.logDirectory);
  const namespaces = ownNamespaces(config, pins);
  const results = await Promise.allSettled([
    stage('pod.files', () => makePodFiles(directory, config)),
    stage('pod.namespaces', () => pinNamespaces(namespaces, config)).then(() =>
      attachNetwork(record, namespaces, options, signal),
    ),
  ]);
  // Both have ended by now: nothing is still being made while the caller undoes.
  for (const result of results) if (result.status === 'rejected') throw result.reason;
  const attached = results[1].status === 'fulfilled' ? results[1].value : undefined;
  const ips = attached?.ips ?? [];
  await makeHostsFile(directory, config, ips);
  throwIfAborted(signal, 'pod.run');
  if (config.namespaces.pid === 'pod') {
    await stage('pod.init', () => options.init.start(record, namespaces, pins.pid, signal));
  }
  throwIfAborted(signal, 'pod.run');
  return { ...record, state: 'ready', namespaces, ips, networkResult: attached?.raw };
}

/** It is the caller's choice, so a path that can't be one is the caller's to mend. */
async function makeLogDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o755 });
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    const message = `log directory ${path}: ${messageOf(error)}`;
    throw new CairnError('FailedPrecondition', message, { step: 'pod.files', cause: error });
  }
}

async function attachNetwork(
  record: PodRecord,
  namespaces: Pod['namespaces'],
  { network }: BuildOptions,
  signal: AbortSignal | undefined,
): Promise<AttachResult | undefined> {
  const netnsPath = namespaces.network;
  if (netnsPath === undefined) return undefined;
  throwIfAborted(signal, 'pod.run');
  return await stage('network.add', async () => {
    await failpoint('pod.network.add');
    return await network.add(attachRequest(record, netnsPath), signal);
  });
}
