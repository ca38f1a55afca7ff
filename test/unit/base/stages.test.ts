import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import { JoinedWork } from '../../../src/base/joined-work.ts';
import { KeyedMutex } from '../../../src/base/locks.ts';
import { beginRequest, describeStage, liveRequests, stage, stageOf } from '../../../src/base/stages.ts';

const begin = (method: string, id = 'r1') => beginRequest(method, { id, subject: { pod: 'p' } });
/** Runs `work` as a request until its first pause. */
function running(method: string, work: () => Promise<unknown>, id?: string) {
  const request = begin(method, id);
  const ended = request.run(work).finally(() => request[Symbol.dispose]());
  ended.catch(() => undefined);
  return { request, ended };
}
const forever = () => new Promise<never>(() => undefined);

describe('a request', () => {
  test('is listed while it runs, with its method, its subject and the innermost stage', async () => {
    const gate = Promise.withResolvers<void>();
    const { request, ended } = running('RunPodSandbox', () =>
      stage('network.add', () => stage('network.plugin', () => gate.promise, { detail: 'bridge ADD' })),
    );
    expect(liveRequests()).toContain(request);
    expect(request).toMatchObject({ method: 'RunPodSandbox', subject: { pod: 'p' } });
    expect(request.current()).toMatchObject({ stage: 'network.plugin', detail: 'bridge ADD' });
    await sleep(20);
    expect(request.current().inStageMs).toBeGreaterThan(15);
    expect(describeStage(request.current())).toMatch(/^stage network\.plugin \(bridge ADD\) for \d+\.\d s$/);
    gate.resolve();
    await ended;
    expect(liveRequests()).not.toContain(request);
    expect(Object.keys(request.spentMs()).sort()).toEqual(['network.add', 'network.plugin']);
  });

  test('whose steps run beside each other is in the one that has lasted longest', async () => {
    const { request } = running('RunPodSandbox', () =>
      Promise.all([
        stage('quick', () => sleep(10)),
        stage('stuck', forever),
        sleep(10).then(() => stage('late', forever)),
      ]),
    );
    expect(request.current().stage).toBe('quick');
    await sleep(40);
    expect(request.current().stage).toBe('stuck');
    request[Symbol.dispose]();
  });

  test('that waits for a lock tells what its holder is doing', async () => {
    const mutex = new KeyedMutex('pod.lock');
    const hold = async () => {
      using _held = await mutex.lock('key');
      await stage('network.del', forever);
    };
    const first = running('StopPodSandbox', hold, 'a');
    const second = running('RemovePodSandbox', hold, 'b');
    await sleep(5);
    expect(describeStage(second.request.current())).toMatch(
      /^stage pod\.lock > StopPodSandbox \(request a\) > network\.del for 0\.\d s$/,
    );
    for (const { request } of [first, second]) request[Symbol.dispose]();
  });

  test('that joined the work of another one tells where that work is, also when the first has left', async () => {
    const joined = new JoinedWork<void>('image.pull');
    const left = new AbortController();
    const first = running('PullImage', () => joined.run('x', left.signal, () => stage('image.layers', forever)), 'a');
    const second = running('PullImage', () => joined.run('x', undefined, forever), 'b');
    await sleep(5);
    left.abort();
    await first.ended.catch(() => undefined);
    expect(describeStage(second.request.current())).toMatch(/^stage image\.pull > image\.layers for 0\.\d s$/);
    second.request[Symbol.dispose]();
  });
});

test('what is thrown remembers the innermost stage, with and without a request', async () => {
  const error = new Error('no');
  const failing = () => stage('outer', () => stage('inner', () => Promise.reject(error)));
  await expect(failing()).rejects.toBe(error);
  expect(stageOf(error)).toBe('inner');
  const other = new Error('no');
  await expect(begin('X').run(() => stage('step', () => Promise.reject(other)))).rejects.toBe(other);
  expect(stageOf(other)).toBe('step');
  expect(stageOf('text')).toBeUndefined();
});

test('what goes on after its request has ended counts for nobody', async () => {
  const request = begin('StartContainer');
  const gate = Promise.withResolvers<void>();
  const watcher = request.run(async () => {
    await gate.promise;
    return stage('task.delete', async () => request.current().stage);
  });
  request[Symbol.dispose]();
  gate.resolve();
  expect(await watcher).toBe('');
  expect(request.spentMs()).toEqual({});
});

test('a stage costs microseconds', async () => {
  const request = begin('Cost');
  const nothing = async () => undefined;
  const each = async (count: number, step: () => Promise<unknown>) => {
    const startedAt = performance.now();
    for (let n = 0; n < count; n++) await step();
    return ((performance.now() - startedAt) * 1000) / count;
  };
  await request.run(async () => {
    await each(20_000, () => stage('warm', nothing));
    const [plain, staged] = [await each(50_000, nothing), await each(50_000, () => stage('warm', nothing))];
    expect(staged - plain).toBeLessThan(50);
    if (process.env['CAIRN_SHOW_COST']) console.log({ plain, staged });
  });
  request[Symbol.dispose]();
});
