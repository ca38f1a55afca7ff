/** A reader that does not read, on a real gRPC stream: only the services below are made up, to have many events quickly. */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import { Listeners } from '../../../src/base/listeners.ts';
import { silentLogger } from '../../../src/base/log.ts';
import type { ContainerService, ContainerTransition } from '../../../src/containers/index.ts';
import { type CriOptions, criServices } from '../../../src/cri/index.ts';
import { createEventService } from '../../../src/events/index.ts';
import { RuntimeService } from '../../../src/generated/cri.js';
import type { PodService } from '../../../src/pods/index.ts';
import { createGrpcServer, createRpcClient } from '../../../src/rpc/index.ts';
import { podConfig, readyPod } from '../../fixtures/pod-configs.ts';

const { getContainerEvents, version } = RuntimeService.methods;
const PENDING_MAX = 100;
const EVENTS = 2_000;

test('it gets what was on its way, then ResourceExhausted; others get everything', async () => {
  const directory = await mkdtemp('/tmp/cairn-events-');
  const config = podConfig({ annotations: { large: 'x'.repeat(20_000) } });
  const listeners = new Listeners<ContainerTransition>(silentLogger);
  const pods = { list: () => [readyPod({ id: 'p', config })], onTransition: () => ({ [Symbol.dispose]() {} }) };
  const containers = { list: () => [], onTransition: listeners.add.bind(listeners) };
  using events = createEventService({
    pods: pods as unknown as PodService,
    containers: containers as unknown as ContainerService,
    log: silentLogger,
    limits: { pendingMax: PENDING_MAX },
  });
  events.started();
  const listen = `unix://${join(directory, 'cairn.sock')}`;
  const services = criServices({ pods, containers, events, stats: {}, version: '0' } as unknown as CriOptions);
  await using _server = await createGrpcServer({ listen, services, log: silentLogger });
  using slowClient = createRpcClient({ address: listen });
  using client = createRpcClient({ address: listen });
  try {
    const slow = slowClient.stream(getContainerEvents, {});
    const quick = client.stream(getContainerEvents, {});
    const emit = (index: number) =>
      listeners.emit({ id: `c${index}`, podId: 'p', from: 'creating', to: 'created', atNs: 0n });
    const first = [slow.next(), quick.next()];
    await client.call(version, {});
    await sleep(100);
    emit(0);
    await Promise.all(first);
    let quickCount = 1;
    for (let index = 1; index < EVENTS; index++) {
      emit(index);
      await quick.next();
      quickCount++;
    }
    expect(quickCount).toBe(EVENTS);
    const seen: string[] = ['c0'];
    const readOn = async () => {
      for await (const { containerId } of slow) seen.push(containerId);
    };
    await expect(readOn()).rejects.toMatchObject({ kind: 'ResourceExhausted' });
    expect(seen.length).toBeLessThan(EVENTS - PENDING_MAX);
    expect(seen).toEqual(seen.map((_, index) => `c${index}`));
    await quick.return();
  } finally {
    await rm(directory, { recursive: true });
  }
}, 30_000);
