/** CHECK of the networks of pods that a daemon finds at its start. */
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { podConfig } from '../../fixtures/pod-configs.ts';
import { until } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';

let world: PodWorld;
const lines: string[] = [];
beforeAll(async () => {
  const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
  world = await PodWorld.create({ embeddedNetwork: true, pods: { log } });
});
afterAll(() => world[Symbol.asyncDispose]());

test('a pod whose address was taken away while nobody looked is named in the log, a whole one is not', async () => {
  const own = { namespaces: { network: 'pod', pid: 'container', ipc: 'pod' } } as const;
  const [whole, hurt] = [await world.pods.run(podConfig(own)), await world.pods.run(podConfig(own))];
  await world.stopServices();
  execFileSync('nsenter', [`--net=${hurt.namespaces.network}`, 'ip', 'addr', 'flush', 'dev', 'eth0']);
  await world.restart();
  await until('the check has spoken', () => lines.some((line) => line.includes(hurt.id)));
  expect(lines.join('')).toContain('the network of a pod is not as it was made');
  expect(lines.join('')).not.toContain(whole.id);
  expect(world.pods.get(hurt.id).state).toBe('ready');
});
