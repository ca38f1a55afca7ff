import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { ContainerState, ImageService, NamespaceMode, RuntimeService } from '../../../src/generated/cri.js';
import { createRpcClient, type RpcClient } from '../../../src/rpc/index.ts';
import { TestDaemon } from '../../fixtures/daemon.ts';
import { hostImage } from '../../fixtures/host-image.ts';
import { startRegistry, type TestRegistry } from '../../fixtures/registry.ts';

const runtime = RuntimeService.methods;
const images = ImageService.methods;
const TIMEOUT_MS = 60_000;

let registry: TestRegistry;
let daemon: TestDaemon;
let rpc: RpcClient;
let image: string;

beforeAll(async () => {
  registry = await startRegistry();
  await registry.push('cairn/tools', hostImage(), '1');
  image = `${registry.host}/cairn/tools:1`;
  daemon = await TestDaemon.create();
  rpc = createRpcClient({ address: `unix://${daemon.socket}` });
  await rpc.call(images.pullImage, { image: { image } });
}, TIMEOUT_MS);

afterAll(async () => {
  rpc?.[Symbol.dispose]();
  await daemon?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
}, TIMEOUT_MS);

function sandbox(name: string) {
  return {
    metadata: { name, namespace: 'test', uid: `${name}-uid`, attempt: 0 },
    logDirectory: join(daemon.directory, 'logs', name),
    labels: { app: name },
    annotations: { note: `of ${name}` },
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
  };
}

function container(name: string, script: string) {
  return {
    metadata: { name, attempt: 0 },
    image: { image },
    command: ['sh', '-c', script],
    logPath: `${name}.log`,
    linux: { securityContext: { namespaceOptions: { pid: NamespaceMode.CONTAINER } } },
  };
}

async function start(podSandboxId: string, name: string, script: string, config = sandbox(name)): Promise<string> {
  const request = { podSandboxId, config: container(name, script), sandboxConfig: config };
  const { containerId } = await rpc.call(runtime.createContainer, request);
  await rpc.call(runtime.startContainer, { containerId });
  return containerId;
}

async function statusOf(containerId: string) {
  const { status } = await rpc.call(runtime.containerStatus, { containerId });
  if (!status) throw new Error('no status');
  return status;
}

async function eventually(check: () => Promise<boolean>, timeoutMs = 10_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error('it did not happen in time');
    await sleep(50);
  }
}

const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();

describe('the path of a pod over the socket', () => {
  test(
    'a pod has an address, its container runs, logs, answers exec and stops',
    async () => {
      const config = sandbox('path');
      const { podSandboxId } = await rpc.call(runtime.runPodSandbox, { config });
      const pod = await rpc.call(runtime.podSandboxStatus, { podSandboxId });
      expect(pod.status?.network?.ip).toMatch(/^10\./);
      expect(pod.status?.annotations).toEqual({ note: 'of path' });

      const containerId = await start(podSandboxId, 'path', 'echo out; echo err >&2; exec sleep 1000');
      const listed = await rpc.call(runtime.listContainers, { filter: { podSandboxId } });
      expect(listed.containers.map(({ id, state }) => ({ id, state }))).toEqual([
        { id: containerId, state: ContainerState.CONTAINER_RUNNING },
      ]);

      const exec = await rpc.call(runtime.execSync, {
        containerId,
        cmd: ['sh', '-c', 'hostname; exit 4'],
        timeout: 10,
      });
      expect({ out: text(exec.stdout), code: exec.exitCode }).toEqual({ out: 'path\n', code: 4 });

      const log = join(config.logDirectory, 'path.log');
      await eventually(async () => (await readFile(log, 'utf8')).includes('err'));
      expect(await readFile(log, 'utf8')).toMatch(/^\S+ stdout F out$/m);
      expect(await readFile(log, 'utf8')).toMatch(/^\S+ stderr F err$/m);

      await rpc.call(runtime.stopContainer, { containerId, timeout: 0 });
      expect(await statusOf(containerId)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 137 });
      await rpc.call(runtime.removePodSandbox, { podSandboxId });
      await expect(rpc.call(runtime.podSandboxStatus, { podSandboxId })).rejects.toMatchObject({ kind: 'NotFound' });
      expect(existsSync(join(daemon.state, 'sandboxes', podSandboxId))).toBe(false);
    },
    TIMEOUT_MS,
  );

  test(
    'containers live through a killed daemon, and one that ended meanwhile tells its true exit code',
    async () => {
      const config = sandbox('kill');
      const { podSandboxId } = await rpc.call(runtime.runPodSandbox, { config });
      const lives = await start(podSandboxId, 'lives', 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done', config);
      const ends = await start(podSandboxId, 'ends', 'sleep 1; exit 7', config);
      const { ip } = (await rpc.call(runtime.podSandboxStatus, { podSandboxId })).status?.network ?? {};

      await daemon.stop('SIGKILL');
      await sleep(1500);
      await daemon.start();

      expect(await statusOf(lives)).toMatchObject({ state: ContainerState.CONTAINER_RUNNING });
      expect(await statusOf(ends)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 7 });
      expect((await rpc.call(runtime.podSandboxStatus, { podSandboxId })).status?.network?.ip).toBe(ip);
      const lines = (await readFile(join(config.logDirectory, 'lives.log'), 'utf8')).trimEnd().split('\n');
      expect(lines.map((line) => line.split(' ')[3])).toEqual(lines.map((_, index) => String(index)));
      expect(lines.length).toBeGreaterThan(10);
      await rpc.call(runtime.removePodSandbox, { podSandboxId });
    },
    TIMEOUT_MS,
  );

  test(
    'a command that is not in the image fails to start with the words of runc, and is seen as a StartError',
    async () => {
      const config = sandbox('missing');
      const { podSandboxId } = await rpc.call(runtime.runPodSandbox, { config });
      const request = { ...container('missing', ''), command: ['no-such-program'] };
      const { containerId } = await rpc.call(runtime.createContainer, {
        podSandboxId,
        config: request,
        sandboxConfig: config,
      });
      await expect(rpc.call(runtime.startContainer, { containerId })).rejects.toThrow(
        '"no-such-program": executable file not found',
      );
      expect(await statusOf(containerId)).toMatchObject({
        state: ContainerState.CONTAINER_EXITED,
        exitCode: 128,
        reason: 'StartError',
      });
      await rpc.call(runtime.removePodSandbox, { podSandboxId });
    },
    TIMEOUT_MS,
  );

  test('what is not there is NotFound, or nothing to do', async () => {
    await expect(rpc.call(runtime.containerStatus, { containerId: 'abcdef' })).rejects.toMatchObject({
      kind: 'NotFound',
    });
    await rpc.call(runtime.stopPodSandbox, { podSandboxId: 'abcdef' });
    await rpc.call(runtime.removePodSandbox, { podSandboxId: 'abcdef' });
    await rpc.call(runtime.removeContainer, { containerId: 'abcdef' });
    await rpc.call(images.removeImage, { image: { image: 'nowhere/none:1' } });
    expect((await rpc.call(images.imageStatus, { image: { image: 'nowhere/none:1' } })).image).toBeNull();
  });

  test('a request without metadata is refused with the name of the field', async () => {
    await expect(rpc.call(runtime.runPodSandbox, { config: {} })).rejects.toMatchObject({
      kind: 'InvalidArgument',
      message: expect.stringContaining('metadata'),
    });
  });

  test('a failed sandbox leaves no row, namespace, address or directory', async () => {
    const config = { ...sandbox('undone'), linux: { sysctls: { 'net.no.such': '1' } } };
    await expect(rpc.call(runtime.runPodSandbox, { config })).rejects.toThrow();
    const { items } = await rpc.call(runtime.listPodSandbox, {});
    expect(items).toEqual([]);
  });
});
