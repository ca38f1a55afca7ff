/** A stop that does not end, made with the freezer of the pod's cgroup: what is frozen dies only when it thaws. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { cgroupPaths, processesOf } from '../../../src/linux/index.ts';
import { podConfig } from '../../fixtures/pod-configs.ts';
import { ready, shell, started, UNTIL_TERM, until } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';

let world: PodWorld;
beforeAll(async () => {
  world = await PodWorld.create();
}, 30_000);
afterAll(async () => {
  await world[Symbol.asyncDispose]();
}, 30_000);

/** The pod's cgroup on v1; on v2 `cgroup.freeze` can't hold SIGKILL back. */
async function freezer(path: string): Promise<string | undefined> {
  const { freezer: directory } = await cgroupPaths(path);
  return directory && join(directory, 'freezer.state');
}

const shared = (pid: 'pod' | 'node') => podConfig({ namespaces: { network: 'node', pid, ipc: 'pod' } });
const security = (mode: 'pod' | 'node') => {
  const base = shell('').security;
  return { ...base, pid: { mode, targetId: '' } };
};

describe('a stop', () => {
  test('that does not end names the processes and what they wait for, in a PID namespace of their own and in a shared one; a later one ends', async () => {
    const parents = ['own', 'shared'].map((name) => `${world.cgroupParent}/stuck-${name}`);
    const pods = await Promise.all([
      world.pods.run({ ...podConfig(), cgroupParent: parents[0] ?? '' }),
      world.pods.run({ ...shared('pod'), cgroupParent: parents[1] ?? '' }),
    ]);
    const ids = await Promise.all([
      started(world, pods[0].id, shell('sleep 1001 & exec sleep 1000')),
      started(world, pods[1].id, shell('sleep 1001 & exec sleep 1000', { security: security('pod') })),
    ]);
    const states = (await Promise.all(parents.map(freezer))).filter((path) => path !== undefined);
    if (states.length === 0) return;
    try {
      for (const path of states) await writeFile(path, 'FROZEN');
      await until('all are frozen', async () =>
        (await Promise.all(states.map((path) => readFile(path, 'utf8')))).every((state) => state.trim() === 'FROZEN'),
      );
      const failures = await Promise.all(
        ids.map((id) => world.containers.stop(id, 0).catch((error: unknown) => error)),
      );
      for (const failure of failures) {
        expect(failure).toMatchObject({
          kind: 'DeadlineExceeded',
          message: expect.stringMatching(/process \d+ \(sleep\) is in state D \(disk sleep\), waiting in \w+/),
        });
      }
    } finally {
      for (const path of states) await writeFile(path, 'THAWED');
    }
    for (const id of ids) await world.containers.stop(id, 0);
    for (const id of ids) expect(world.containers.get(id).state).toBe('exited');
    for (const pod of pods) await world.pods.remove(pod.id);
  }, 40_000);

  test.each(['pod', 'node'] as const)(
    "leaves no process in the container's cgroup when it returns, PID namespace of the %s",
    async (mode) => {
      const pod = await world.pods.run(shared(mode));
      // One that left its session, one that ignores the signal, one that forks for ever.
      const script = `setsid sh -c 'trap "" TERM; while :; do sleep 0.05; done' & (trap "" TERM; sleep 1002) & ${UNTIL_TERM}`;
      const id = await started(world, pod.id, shell(script, { security: security(mode) }));
      await ready(world, id);
      const { cgroupsPath } = record(world, id);
      await until('it has three processes', async () => (await processesOf(cgroupsPath)).length >= 3);
      await world.containers.stop(id, 5);
      expect(await processesOf(cgroupsPath)).toEqual([]);
      expect(world.containers.get(id)).toMatchObject({ state: 'exited', exitCode: 7 });
      await world.pods.remove(pod.id);
    },
  );

  test('of a container that has ended by itself waits until what it left behind is gone', async () => {
    const pod = await world.pods.run(shared('pod'));
    const id = await started(world, pod.id, shell('setsid sleep 1003 & exit 3', { security: security('pod') }));
    await until('it has exited', () => world.containers.get(id).state === 'exited');
    await world.containers.stop(id, 0);
    expect(await processesOf(record(world, id).cgroupsPath)).toEqual([]);
    await world.pods.remove(pod.id);
  });
});

function record({ store }: PodWorld, id: string): { readonly cgroupsPath: string } {
  return JSON.parse(String(store.get('SELECT data FROM containers WHERE id = ?', id)?.['data'])) as {
    cgroupsPath: string;
  };
}
