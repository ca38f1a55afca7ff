/** The gRPC services over a domain in memory: what goes in, what comes out, and with which code. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { cairnServices } from '../../../src/api/index.ts';
import { CairnError } from '../../../src/base/errors.ts';
import type { Container } from '../../../src/containers/index.ts';
import { criServices } from '../../../src/cri/index.ts';
import { parseContainer } from '../../../src/cri/parse-container.ts';
import { Cairn } from '../../../src/generated/cairn.js';
import { ContainerConfig, ImageService, RuntimeService } from '../../../src/generated/cri.js';
import { createGrpcServer, createRpcClient, type GrpcServer, type RpcClient } from '../../../src/rpc/index.ts';
import { resources } from '../../fixtures/pod-configs.ts';
import { stubDomain, stubImage, stubPod } from '../../fixtures/stub-domain.ts';

const runtime = RuntimeService.methods;
const image = ImageService.methods;

let directory: string;
let server: GrpcServer;
let rpc: RpcClient;
let domain: ReturnType<typeof stubDomain>;
let logged: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cairn-cri-'));
  domain = stubDomain();
  logged = '';
  const write = (line: string) => {
    logged += line;
  };
  const log = pino({ level: 'trace' }, { write });
  const listen = `unix://${directory}/s`;
  const cri = criServices({
    ...domain,
    version: '1.2.3',
    runtimeHandlers: [{ name: 'runc', features: { recursiveReadOnlyMounts: true, userNamespaces: true } }],
    defaultRuntime: 'runc',
    cgroupDriver: 'cgroupfs',
    config: { root: '/r' },
    selinuxEnabled: false,
  });
  const daemon = { version: '1.2.3', root: '/r' };
  const cairn = cairnServices({ ...domain, daemon, host: {}, runtimes: [{ name: 'runc', isDefault: true }] });
  server = await createGrpcServer({ listen, services: [...cri, ...cairn], log });
  rpc = createRpcClient({ address: listen });
});

afterEach(async () => {
  rpc[Symbol.dispose]();
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

function stubContainer(id: string, changes: Partial<Container> = {}): Container {
  const request = ContainerConfig.encode({
    metadata: { name: 'app', attempt: 2 },
    image: { image: 'sha256:i', userSpecifiedImage: 'web:1' },
    mounts: [{ containerPath: '/in', hostPath: '/out', readonly: true, propagation: 1 }],
    labels: { app: id },
  });
  const facts = { config: stubPod('p').config, recursiveReadOnlyMounts: true };
  return {
    id,
    podId: 'p1',
    state: 'running',
    config: parseContainer(ContainerConfig.decode(request.finish()), facts, { selinuxEnabled: false }),
    resources,
    imageId: 'sha256:i',
    volumeImageIds: [],
    createdAtNs: 1_795_359_830_123_456_789n,
    startedAtNs: 0n,
    finishedAtNs: 0n,
    exitCode: 0,
    reason: '',
    message: '',
    logPath: '/log',
    user: { uid: 7, gid: 8, groups: [8, 9] },
    stopSignal: 3,
    pid: 42,
    ...changes,
  };
}

describe('the runtime', () => {
  test('says what it is and whether it is ready', async () => {
    expect(await rpc.call(runtime.version, {})).toMatchObject({
      version: '0.1.0',
      runtimeName: 'cairn',
      runtimeVersion: '1.2.3',
      runtimeApiVersion: 'v1',
    });
    domain.world.network = { ready: false, reason: 'NetworkPluginNotReady', message: 'no list', network: '' };
    const { status, runtimeHandlers, info } = await rpc.call(runtime.status, { verbose: true });
    expect(status?.conditions).toMatchObject([
      { type: 'RuntimeReady', status: true },
      { type: 'NetworkReady', status: false, reason: 'NetworkPluginNotReady', message: 'no list' },
    ]);
    const features = { recursiveReadOnlyMounts: true, userNamespaces: true };
    expect(runtimeHandlers).toMatchObject([
      { name: '', features },
      { name: 'runc', features },
    ]);
    expect(JSON.parse(info['config'] ?? '')).toEqual({ root: '/r' });
    expect((await rpc.call(runtime.status, {})).info).toEqual({});
    expect((await rpc.call(runtime.runtimeConfig, {})).linux?.cgroupDriver).toBe(1);
  });

  test('takes pod CIDRs and refuses what is none', async () => {
    const update = (podCidr: string) =>
      rpc.call(runtime.updateRuntimeConfig, { runtimeConfig: { networkConfig: { podCidr } } });
    await update('10.1.0.0/24, fd00::/64');
    await update('');
    expect(domain.world.calls).toEqual([['setPodCidrs', ['10.1.0.0/24', 'fd00::/64']]]);
    for (const bad of ['10.1.0.0', '10.1.0.0/33', 'x/8', '10.1.0.0/8/8', '10.1.0.0/24,']) {
      await expect(update(bad)).rejects.toMatchObject({ kind: 'InvalidArgument' });
    }
  });

  test('answers Unimplemented, by name, to every call that it does not have yet', async () => {
    const missing: string[] = [];
    for (const { methods } of [RuntimeService, ImageService]) {
      for (const method of Object.values(methods)) {
        const outcome = method.responseStream
          ? rpc.stream(method as typeof runtime.getContainerEvents, {}).next()
          : rpc.call(method as typeof runtime.version, {});
        const error = await outcome.then(
          () => undefined,
          (thrown: CairnError) => thrown,
        );
        if (error?.kind === 'Unimplemented') missing.push(method.name);
        if (error?.kind === 'Unimplemented') expect(error.message).toContain(method.name);
      }
    }
    expect(missing).toContain('CheckpointContainer');
    expect(missing).not.toContain('StreamImages');
    expect(missing).not.toContain('ListContainers');
  });
});

describe('a sandbox', () => {
  beforeEach(() => {
    domain.world.pods.push(stubPod('p1abc'), stubPod('p2abc', { state: 'notready' }));
  });

  test('is run by a known handler only', async () => {
    const config = { metadata: { name: 'x' } };
    expect(await rpc.call(runtime.runPodSandbox, { config })).toMatchObject({ podSandboxId: 'p1abc' });
    await expect(rpc.call(runtime.runPodSandbox, { config, runtimeHandler: 'kata' })).rejects.toMatchObject({
      kind: 'InvalidArgument',
      message: expect.stringContaining('there are: runc'),
    });
  });

  test('has a status by its ID or the beginning of it', async () => {
    const { status, timestamp, info } = await rpc.call(runtime.podSandboxStatus, { podSandboxId: 'p1', verbose: true });
    expect(status).toMatchObject({
      id: 'p1abc',
      state: 0,
      metadata: { name: 'web', namespace: 'shop', uid: 'u', attempt: 1 },
      network: { ip: '10.0.0.2', additionalIps: [{ ip: 'fd00::2' }] },
      linux: { namespaces: { options: { network: 0, pid: 1, ipc: 0 } } },
      annotations: { note: 'x' },
    });
    expect(status?.createdAt.toString()).toBe('1795359830123456789');
    expect(timestamp.toNumber()).toBeGreaterThan(1.7e18);
    expect(JSON.parse(info['info'] ?? '')).toMatchObject({
      // No container of it runs.
      pid: 0,
      cniResult: { cniVersion: '1.0.0' },
      runtimeType: 'oci',
      runtimeSpec: {
        linux: {
          namespaces: [
            { type: 'network', path: '/n' },
            { type: 'ipc', path: '/i' },
            { type: 'uts', path: '/u' },
          ],
        },
      },
    });
    domain.world.containers.push(stubContainer('c1abc', { podId: 'p1abc' }));
    const again = await rpc.call(runtime.podSandboxStatus, { podSandboxId: 'p1', verbose: true });
    expect(JSON.parse(again.info['info'] ?? '')).toMatchObject({ pid: 42 });
    const status404 = rpc.call(runtime.podSandboxStatus, { podSandboxId: 'gone' });
    await expect(status404).rejects.toMatchObject({ kind: 'NotFound' });
    const ambiguous = rpc.call(runtime.podSandboxStatus, { podSandboxId: 'p' });
    await expect(ambiguous).rejects.toMatchObject({ kind: 'InvalidArgument' });
  });

  test('is listed by ID, state and labels, and not while it is being made', async () => {
    domain.world.pods.push(stubPod('p3abc', { state: 'creating' }));
    const list = async (filter: object) =>
      (await rpc.call(runtime.listPodSandbox, { filter })).items.map(({ id }) => id);
    expect(await list({})).toEqual(['p1abc', 'p2abc']);
    expect(await list({ id: 'p2' })).toEqual(['p2abc']);
    expect(await list({ id: 'p' })).toEqual([]);
    expect(await list({ id: 'zz' })).toEqual([]);
    expect(await list({ state: { state: 1 } })).toEqual(['p2abc']);
    expect(await list({ state: { state: 0 }, labelSelector: { app: 'p2abc' } })).toEqual([]);
  });

  test('may be stopped and removed when it is gone', async () => {
    await rpc.call(runtime.stopPodSandbox, { podSandboxId: 'gone' });
    await rpc.call(runtime.removePodSandbox, { podSandboxId: 'p1' });
    expect(domain.world.calls).toEqual([
      ['stopPod', 'gone'],
      ['removePod', 'p1abc'],
    ]);
    await expect(rpc.call(runtime.stopPodSandbox, {})).rejects.toMatchObject({
      kind: 'InvalidArgument',
      message: 'pod_sandbox_id: is required',
    });
  });
});

describe('a container', () => {
  beforeEach(() => {
    domain.world.pods.push(stubPod('p1'));
    domain.world.containers.push(stubContainer('c1abc'), stubContainer('c2abc', { state: 'exited', podId: 'p9' }));
    domain.world.images.push(stubImage('sha256:i', 'docker.io/library/web:1'));
  });

  test('is created in a pod that there is', async () => {
    const config = { metadata: { name: 'x' }, image: { image: 'web' } };
    expect(await rpc.call(runtime.createContainer, { podSandboxId: 'p1', config })).toMatchObject({
      containerId: 'c1abc',
    });
    expect(domain.world.calls[0]).toMatchObject(['create', 'p1', { name: 'x', image: 'web' }]);
    const lost = rpc.call(runtime.createContainer, { podSandboxId: 'p7', config });
    await expect(lost).rejects.toMatchObject({ kind: 'NotFound' });
  });

  test('has a status with the image by name and by digest', async () => {
    const { status, info } = await rpc.call(runtime.containerStatus, { containerId: 'c1', verbose: true });
    expect(status).toMatchObject({
      id: 'c1abc',
      state: 1,
      metadata: { name: 'app', attempt: 2 },
      image: { image: 'docker.io/library/web:1', userSpecifiedImage: 'web:1' },
      imageId: 'sha256:i',
      imageRef: 'docker.io/library/web:1@sha256:m',
      mounts: [{ containerPath: '/in', hostPath: '/out', readonly: true, propagation: 1 }],
      stopSignal: 18,
      logPath: '/log',
    });
    const { uid, gid, supplementalGroups = [] } = status?.user?.linux ?? {};
    expect([uid, gid, ...supplementalGroups].map(Number)).toEqual([7, 8, 8, 9]);
    expect(JSON.parse(info['info'] ?? '')).toMatchObject({
      ...{ sandboxID: 'p1', pid: 42, removing: false, image: 'sha256:i', runtimeType: 'oci', snapshotKey: 'c1abc' },
      config: { metadata: { name: 'app', attempt: 2 }, image: { image: 'sha256:i' } },
      runtimeSpec: { ociVersion: '1.0.2' },
    });
  });

  test('is listed by ID, pod, state and labels', async () => {
    const list = async (filter: object) =>
      (await rpc.call(runtime.listContainers, { filter })).containers.map(({ id }) => id);
    expect(await list({})).toEqual(['c1abc', 'c2abc']);
    expect(await list({ id: 'c2' })).toEqual(['c2abc']);
    expect(await list({ podSandboxId: 'p1' })).toEqual(['c1abc']);
    expect(await list({ podSandboxId: 'nope' })).toEqual([]);
    expect(await list({ state: { state: 2 } })).toEqual(['c2abc']);
    expect(await list({ state: { state: 3 } })).toEqual([]);
    expect(await list({ labelSelector: { app: 'c1abc' } })).toEqual(['c1abc']);
  });

  test('is started, stopped and removed; the last two also when it is gone', async () => {
    await rpc.call(runtime.startContainer, { containerId: 'c1' });
    await rpc.call(runtime.stopContainer, { containerId: 'c1', timeout: 10 });
    await rpc.call(runtime.stopContainer, { containerId: 'gone' });
    await rpc.call(runtime.removeContainer, { containerId: 'gone' });
    expect(domain.world.calls).toEqual([
      ['start', 'c1abc'],
      ['stop', 'c1abc', 10],
      ['stop', 'gone', 0],
      ['remove', 'gone'],
    ]);
    const start = rpc.call(runtime.startContainer, { containerId: 'gone' });
    await expect(start).rejects.toMatchObject({ kind: 'NotFound' });
    const stop = rpc.call(runtime.stopContainer, { containerId: 'c1', timeout: -1 });
    await expect(stop).rejects.toMatchObject({ kind: 'InvalidArgument', message: expect.stringContaining('timeout') });
  });

  test('runs a command', async () => {
    const result = await rpc.call(runtime.execSync, { containerId: 'c1', cmd: ['ls', '-l'], timeout: 5 });
    expect(result).toMatchObject({ exitCode: 3 });
    expect(Buffer.from(result.stdout).toString() + Buffer.from(result.stderr).toString()).toBe('outerr');
    expect(domain.world.calls).toEqual([['execSync', 'c1abc', ['ls', '-l'], 5]]);
    const nothing = rpc.call(runtime.execSync, { containerId: 'c1' });
    await expect(nothing).rejects.toMatchObject({ kind: 'InvalidArgument', message: 'cmd: is required' });
  });
});

describe('an image', () => {
  beforeEach(() => void domain.world.images.push(stubImage('sha256:i', 'web:1')));

  test('is pulled with credentials that no log line shows', async () => {
    const auth = { auth: Buffer.from('user:hunter2').toString('base64') };
    const request = { image: { image: 'web:1' }, auth };
    expect(await rpc.call(image.pullImage, request)).toMatchObject({ imageRef: 'sha256:i' });
    expect(domain.world.calls).toEqual([['pull', 'web:1', { username: 'user', password: 'hunter2' }]]);
    expect(logged).toContain('"image":"web:1"');
    expect(logged).not.toContain('hunter2');
    expect(logged).not.toContain(auth.auth);
  });

  test('that is not here has an empty status', async () => {
    expect((await rpc.call(image.imageStatus, { image: { image: 'other' } })).image).toBeNull();
    const { image: found } = await rpc.call(image.imageStatus, { image: { image: 'web:1' } });
    expect(found).toMatchObject({ id: 'sha256:i', repoTags: ['web:1'], username: '', uid: null });
    expect(found?.size.toString()).toBe(String(2 ** 40));
    await expect(rpc.call(image.imageStatus, {})).rejects.toMatchObject({ kind: 'InvalidArgument' });
  });

  test.each([
    ['', { username: '', uid: null }],
    ['root:root', { username: 'root', uid: null }],
    ['0', { username: '', uid: expect.anything() }],
    ['1000:1000', { username: '', uid: expect.anything() }],
  ])('with the user %j says so', async (user, expected) => {
    const { config } = stubImage('', '');
    domain.world.images[0] = stubImage('sha256:i', 'web:1', { config: { ...config, user } });
    const { images } = await rpc.call(image.listImages, {});
    expect(images[0]).toMatchObject(expected);
    if (expected.uid) expect(images[0]?.uid?.value.toNumber()).toBe(Number(user.split(':')[0]));
  });

  test('is removed with all its names by any of them, also when it is gone', async () => {
    await rpc.call(image.removeImage, { image: { image: 'web:1' } });
    await rpc.call(image.removeImage, { image: { image: 'other' } });
    expect(domain.world.calls).toEqual([['removeImage', 'sha256:i']]);
  });

  test('is listed, all or by name, and counted', async () => {
    expect((await rpc.call(image.listImages, {})).images).toHaveLength(1);
    expect((await rpc.call(image.listImages, { filter: { image: { image: 'other' } } })).images).toEqual([]);
    const { imageFilesystems } = await rpc.call(image.imageFsInfo, {});
    expect(imageFilesystems[0]?.fsId?.mountpoint).toBe('/data');
    expect(imageFilesystems[0]?.usedBytes?.value.toNumber()).toBe(1000);
  });

  test('that a person pulls reports its layers and ends with itself', async () => {
    const layer = { digest: 'sha256:l' as never, downloadedBytes: 5, sizeBytes: 10 };
    domain.world.pull = async ({ onProgress }) => {
      onProgress?.({ image: 'full/web:1', layers: [{ ...layer, state: 'downloading' }] });
      await sleep(20);
      onProgress?.({ image: 'full/web:1', layers: [{ ...layer, state: 'unpacking' }] });
      onProgress?.({ image: 'full/web:1', layers: [{ ...layer, state: 'done' }] });
      return stubImage('sha256:i', 'web:1');
    };
    const messages = await Array.fromAsync(rpc.stream(Cairn.methods.pullImage, { image: 'web:1' }));
    expect(messages.map(({ layers }) => layers[0]?.state)).toEqual([1, 3, undefined]);
    expect(messages.at(-1)?.result).toMatchObject({ id: 'sha256:i', repoTags: ['web:1'] });
  });

  test('whose pull fails says why after the progress', async () => {
    domain.world.pull = async ({ onProgress }) => {
      onProgress?.({ image: 'web:1', layers: [] });
      throw new CairnError('Unknown', 'RegistryUnavailable: nobody there');
    };
    const pulled = Array.fromAsync(rpc.stream(Cairn.methods.pullImage, { image: 'web:1' }));
    await expect(pulled).rejects.toMatchObject({ kind: 'Unknown', message: 'RegistryUnavailable: nobody there' });
  });

  test('is no longer pulled when the person leaves', async () => {
    let left: unknown;
    domain.world.pull = ({ onProgress, signal }) => {
      onProgress?.({ image: 'web:1', layers: [] });
      return new Promise((_, reject) => {
        signal?.addEventListener('abort', () => {
          left = signal.reason;
          reject(signal.reason);
        });
      });
    };
    for await (const _ of rpc.stream(Cairn.methods.pullImage, { image: 'web:1' })) break;
    await sleep(100);
    expect(left).toMatchObject({ kind: 'Cancelled' });
  });
});

test('cairn.v1 tells about the daemon and its images', async () => {
  domain.world.pods.push(stubPod('p1'), stubPod('p2', { state: 'notready' }));
  domain.world.containers.push(stubContainer('c1'));
  domain.world.images.push(stubImage('sha256:i', 'web:1'));
  expect(await rpc.call(Cairn.methods.getInfo, {})).toMatchObject({
    daemon: { version: '1.2.3', root: '/r' },
    counts: { podsReady: 1, podsNotready: 1, containersRunning: 1, containersExited: 0, images: 1 },
    storage: { snapshotter: 'overlay', mountpoint: '/data' },
    network: { ready: true, name: 'test' },
    runtimes: [{ name: 'runc', isDefault: true }],
  });
  expect(await rpc.call(Cairn.methods.inspectImage, { image: 'web:1' })).toMatchObject({
    image: { id: 'sha256:i' },
    layers: [{ digest: 'sha256:l', diffId: 'sha256:d' }],
  });
  await expect(rpc.call(Cairn.methods.inspectImage, { image: 'x' })).rejects.toMatchObject({ kind: 'NotFound' });
});
