import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { silentLogger } from '../../../src/base/log.ts';
import { type ContainerRecord, ContainerRecords } from '../../../src/containers/records.ts';
import { type ContainerTransition, ContainerTransitions } from '../../../src/containers/transition.ts';
import { type PodRecord, PodRecords } from '../../../src/pods/records.ts';
import { PodTransitions } from '../../../src/pods/transition.ts';
import { openStore, type Store } from '../../../src/store/index.ts';
import { containerConfig, podConfig, readyPod, resources } from '../../fixtures/pod-configs.ts';

let directory: string;
let store: Store;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cairn-transition-'));
  store = await openStore({ path: join(directory, 'cairn.db'), log: silentLogger });
});
afterEach(async () => {
  await store[Symbol.asyncDispose]();
  await rm(directory, { recursive: true, force: true });
});

const pod = (id: string): PodRecord => ({
  ...readyPod({ id, config: podConfig({ labels: { app: id } }) }),
  ...{ state: 'creating', runtimeName: 'runc', bootId: 'boot' },
});
const container = (id: string, podId: string, changes: Partial<ContainerRecord> = {}): ContainerRecord => ({
  ...{ id, podId, state: 'creating', config: containerConfig(), imageId: 'sha256:1', createdAtNs: 10n ** 18n + 1n },
  ...{ startedAtNs: 0n, finishedAtNs: 0n, exitCode: 0, reason: '', message: '', logPath: '' },
  ...{ user: undefined, pid: undefined },
  ...{ runtimeName: 'runc', cgroupsPath: '/x', stopSignal: 15, directory: '/d', bootId: '' },
  ...{ volumeImageIds: [], ownVolumes: [], resources },
  ...changes,
});

async function readyPodRow(id: string): Promise<void> {
  const transitions = new PodTransitions(new PodRecords(store), silentLogger);
  await transitions.begin(pod(id));
  await transitions.change({ ...pod(id), state: 'ready' });
}

describe('the life of a container', () => {
  test('is announced step by step, each after it is in the store', async () => {
    await readyPodRow('p1');
    const transitions = new ContainerTransitions(new ContainerRecords(store), silentLogger);
    const seen: ContainerTransition[] = [];
    using _listening = transitions.onTransition((transition) => {
      const row = store.get('SELECT state FROM containers WHERE id = ?', transition.id);
      expect(row?.['state'] ?? 'removed').toBe(transition.to);
      seen.push(transition);
    });
    const record = container('c1', 'p1');
    await transitions.begin(record);
    for (const state of ['created', 'running', 'exited'] as const) await transitions.change({ ...record, state });
    await transitions.remove('c1');
    expect(seen.map(({ from, to }) => [from, to])).toEqual([
      [undefined, 'creating'],
      ['creating', 'created'],
      ['created', 'running'],
      ['running', 'exited'],
      ['exited', 'removed'],
    ]);
  });

  test.each([
    ['creating', 'running'],
    ['running', 'created'],
    ['exited', 'running'],
  ] as const)('does not go from %s to %s', async (from, to) => {
    await readyPodRow('p1');
    const records = new ContainerRecords(store);
    const transitions = new ContainerTransitions(records, silentLogger);
    await transitions.begin(container('c1', 'p1', { state: from }));
    await expect(transitions.change(container('c1', 'p1', { state: to }))).rejects.toMatchObject({
      kind: 'FailedPrecondition',
    });
    expect(records.get('c1').state).toBe(from);
  });

  test('a running one is not removed', async () => {
    await readyPodRow('p1');
    const transitions = new ContainerTransitions(new ContainerRecords(store), silentLogger);
    await transitions.begin(container('c1', 'p1', { state: 'running' }));
    await expect(transitions.remove('c1')).rejects.toMatchObject({ kind: 'FailedPrecondition' });
  });

  test('a listener that throws harms nobody', async () => {
    await readyPodRow('p1');
    const transitions = new ContainerTransitions(new ContainerRecords(store), silentLogger);
    transitions.onTransition(() => {
      throw new Error('a bad listener');
    });
    await expect(transitions.begin(container('c1', 'p1'))).resolves.toBeUndefined();
  });
});

describe('the records', () => {
  test('come back from the store as they were', async () => {
    await readyPodRow('p1');
    const record = container('c1', 'p1', { state: 'running', pid: 77, startedAtNs: 10n ** 18n + 7n, reason: 'x' });
    await new ContainerRecords(store).insert(record);
    expect(new ContainerRecords(store).get('c1')).toEqual(record);
    expect(new PodRecords(store).get('p1')).toEqual({ ...pod('p1'), config: expect.anything(), state: 'ready' });
  });

  test('one identity has one container, and is free again after the removal', async () => {
    await readyPodRow('p1');
    const records = new ContainerRecords(store);
    const first = container('c1', 'p1');
    const twin = { ...first, id: 'c2' };
    const inserting = records.insert(first);
    await expect(records.insert(twin)).rejects.toMatchObject({
      kind: 'AlreadyExists',
      message: expect.stringContaining('c1'),
    });
    await inserting;
    await records.delete('c1');
    await expect(records.insert(twin)).resolves.toBeUndefined();
  });

  test('one that the store refuses is forgotten', async () => {
    const records = new ContainerRecords(store);
    const orphan = container('c1', 'no such pod');
    await expect(records.insert(orphan)).rejects.toMatchObject({ kind: 'FailedPrecondition' });
    expect(records.all()).toEqual([]);
  });

  test('are found by an unambiguous prefix', async () => {
    await readyPodRow('p1');
    const records = new ContainerRecords(store);
    await records.insert(container('abc1', 'p1'));
    await records.insert(container('abd2', 'p1'));
    expect(records.get('abc').id).toBe('abc1');
    expect(() => records.get('ab')).toThrow(expect.objectContaining({ kind: 'InvalidArgument' }));
    expect(() => records.get('x')).toThrow(expect.objectContaining({ kind: 'NotFound' }));
    expect(() => records.get('')).toThrow(expect.objectContaining({ kind: 'NotFound' }));
  });

  test('are listed by state, pod and labels; what is being created only when asked for', async () => {
    await readyPodRow('p1');
    await readyPodRow('p2');
    const records = new ContainerRecords(store);
    const labelled = containerConfig({ labels: { app: 'web', tier: 'x' } });
    await records.insert(container('c1', 'p1', { state: 'running', config: labelled }));
    await records.insert(container('c2', 'p1', { state: 'exited' }));
    await records.insert(container('c3', 'p2'));
    const ids = (filter: object) => records.list(filter).map(({ id }) => id);
    expect(ids({})).toEqual(['c1', 'c2']);
    expect(ids({ state: 'creating' })).toEqual(['c3']);
    expect(ids({ podId: 'p1', state: 'exited' })).toEqual(['c2']);
    expect(ids({ labels: { app: 'web' } })).toEqual(['c1']);
    expect(ids({ labels: { app: 'web', tier: 'y' } })).toEqual([]);
    expect(ids({ id: 'c2' })).toEqual(['c2']);
  });

  test('a pod of the same name, namespace, uid and attempt is refused, naming the one there is', async () => {
    const records = new PodRecords(store);
    const first = pod('p1');
    await records.insert(first);
    await expect(records.insert({ ...first, id: 'p2' })).rejects.toMatchObject({
      kind: 'AlreadyExists',
      message: expect.stringContaining('p1'),
    });
    const { metadata } = first.config;
    const next = { ...first, id: 'p3', config: { ...first.config, metadata: { ...metadata, attempt: 1 } } };
    await expect(records.insert(next)).resolves.toBeUndefined();
  });
});
