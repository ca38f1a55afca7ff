/** Requests that take too long, over the socket as the kubelet sends them: what they say, and what becomes of their retries. */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ImageService, NamespaceMode, RuntimeService } from '../../../src/generated/cri.js';
import { createRpcClient, type RpcClient } from '../../../src/rpc/index.ts';
import { TestDaemon } from '../../fixtures/daemon.ts';
import { hostImage } from '../../fixtures/host-image.ts';
import { startRegistry, type TestRegistry } from '../../fixtures/registry.ts';

const runtime = RuntimeService.methods;
const TIMEOUT_MS = 60_000;

let registry: TestRegistry;
let daemon: TestDaemon;
let rpc: RpcClient;
let image: string;

beforeAll(async () => {
  registry = await startRegistry();
  await registry.push('cairn/tools', hostImage(), '1');
  image = `${registry.host}/cairn/tools:1`;
  // The first pod and the first container take their time.
  const points = ['pod.network.add=delay:4500@1', 'container.rootfs.mount=delay:4500@1'];
  daemon = await TestDaemon.create({ environment: { CAIRN_FAILPOINTS: points.join(';') } });
  rpc = createRpcClient({ address: `unix://${daemon.socket}` });
  await rpc.call(ImageService.methods.pullImage, { image: { image } });
}, TIMEOUT_MS);

afterAll(async () => {
  rpc?.[Symbol.dispose]();
  await daemon?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
}, TIMEOUT_MS);

const options = { namespaceOptions: { pid: NamespaceMode.CONTAINER } };
const sandbox = (name: string) => ({
  metadata: { name, namespace: 'test', uid: `${name}-uid`, attempt: 0 },
  logDirectory: join(daemon.directory, 'logs', name),
  linux: { securityContext: options },
});
const container = () => ({
  metadata: { name: 'main', attempt: 0 },
  image: { image },
  command: ['sleep', '1000'],
  linux: { securityContext: options },
});

/** Calls three times as the kubelet would; returns the two errors and the ID. */
async function insist(call: (timeoutMs: number) => Promise<string>) {
  const first = await call(2500).catch((error: unknown) => error);
  const second = await call(1000).catch((error: unknown) => error);
  return { first, second, id: await call(20_000) };
}

const said = (message: RegExp) => ({ kind: 'DeadlineExceeded', message: expect.stringMatching(message) });

describe('a retry that meets its twin at work', () => {
  test(
    'is told its stage when the deadline passes, and gets its sandbox in the end; the ID is given once',
    async () => {
      const config = sandbox('slow');
      const run = async (timeoutMs: number) =>
        (await rpc.call(runtime.runPodSandbox, { config }, { timeoutMs })).podSandboxId;
      const all = insist(run);
      await sleep(400);
      const [{ stdout }, json] = await Promise.all([daemon.cairn('requests'), daemon.cairn('requests', '--json')]);
      expect(stdout).toMatch(
        /RunPodSandbox +\d\.\ds +\d\.\ds +pod\.run > network\.add +name=slow namespace=test attempt=0/,
      );
      const [request] = JSON.parse(json.stdout);
      expect(request).toMatchObject({
        method: 'RunPodSandbox',
        stages: [{ name: 'pod.run' }, { name: 'network.add' }],
      });

      const { first, second, id } = await all;
      expect(first).toMatchObject(said(/^pod test\/slow, attempt 0: .*in stage network\.add for \d\.\d s$/));
      expect(second).toMatchObject(said(/an earlier call for it is still at work, in stage network\.add for 3\.\d s$/));
      const { items } = await rpc.call(runtime.listPodSandbox, {});
      expect(items.map((item) => item.id)).toEqual([id]);
      await expect(run(5000)).rejects.toMatchObject({ kind: 'AlreadyExists', message: expect.stringContaining(id) });
      expect((await daemon.cairn('requests')).stdout).toMatch(/^REQUEST .*\n$/);
    },
    TIMEOUT_MS,
  );

  test(
    'gets its container in the end as well',
    async () => {
      const [pod] = (await rpc.call(runtime.listPodSandbox, {})).items;
      const podSandboxId = pod?.id ?? '';
      const create = async (timeoutMs: number) =>
        (await rpc.call(runtime.createContainer, { podSandboxId, config: container() }, { timeoutMs })).containerId;
      const { first, second, id } = await insist(create);
      expect(first).toMatchObject(said(/^container main, attempt 0, .*in stage container\.rootfs for \d\.\d s$/));
      expect(second).toMatchObject(said(/an earlier call.* in stage container\.rootfs for 3\.\d s$/));
      const { containers } = await rpc.call(runtime.listContainers, {});
      expect(containers.map((each) => each.id)).toEqual([id]);
      await expect(create(5000)).rejects.toMatchObject({ kind: 'AlreadyExists', message: expect.stringContaining(id) });
    },
    TIMEOUT_MS,
  );
});

test('log and metrics name the stages', async () => {
  const lines = (await daemon.log())
    .split('\n')
    .filter((line) => line.includes('"method":"RunPodSandbox"'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines.find(({ code }) => code === 'DeadlineExceeded')).toMatchObject({
    level: 'warn',
    name: 'slow',
    stage: 'network.add',
    stages: { 'pod.run': expect.any(Number) },
  });
  const [, address = ''] = /"address":"(127\.0\.0\.1:\d+)","msg":"serving metrics"/.exec(await daemon.log()) ?? [];
  const text = await (await fetch(`http://${address}/metrics`)).text();
  expect(text).toMatch(/cairn_request_stage_seconds_count\{method="RunPodSandbox",stage="network\.add"\} 1\n/);
  expect(text).toMatch(/cairn_request_stage_seconds_count\{method="RunPodSandbox",stage="network\.plugin"\} [1-9]/);
  expect(text).toMatch(/cairn_requests_running\{method="RunPodSandbox"\} 0\n/);
});
