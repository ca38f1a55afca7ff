/** What a new daemon finds of the old one's pods and containers: after a restart, a crash in the middle, a reboot. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { removeNamespace } from '../../../src/linux/index.ts';
import { hostMount, podConfig, security } from '../../fixtures/pod-configs.ts';
import { exited, output, ready, shell, started, UNTIL_TERM, until } from '../../fixtures/pod-steps.ts';
import { PodWorld } from '../../fixtures/pod-world.ts';

const OWN = { network: 'pod', pid: 'container', ipc: 'pod' } as const;
const SHARED = { ...OWN, pid: 'pod' } as const;
const inPodPid = { security: { ...security, pid: { mode: 'pod' as const, targetId: '' } } };

let world: PodWorld;
beforeEach(async () => {
  world = await PodWorld.create({ embeddedNetwork: true });
});
afterEach(async () => world[Symbol.asyncDispose]());

const kill = (pid: number | undefined) => pid !== undefined && process.kill(pid, 'SIGKILL');
const setState = (table: string, id: string, state: string) =>
  world.store.transaction((tx) => tx.run(`UPDATE ${table} SET state = ? WHERE id = ?`, state, id));

describe('after a restart of the daemon', () => {
  test('what runs still runs and can be entered, what ended has its true code', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: SHARED, logDirectory: join(world.directory, 'logs') }));
    const lives = await started(world, pod.id, shell(UNTIL_TERM, { ...inPodPid, logPath: 'lives.log' }));
    const wait = join(world.directory, 'go');
    const mounts = [hostMount({ hostPath: world.directory, containerPath: '/host' })];
    const ends = await started(
      world,
      pod.id,
      shell('until test -e /host/go; do sleep 0.02; done; exit 23', { mounts }),
    );
    const killed = await started(world, pod.id, shell(UNTIL_TERM));
    const { id: created } = await world.containers.create(pod.id, shell(UNTIL_TERM));
    const before = world.containers.get(lives);
    const killedPid = world.containers.get(killed).pid;

    await world.stopServices();
    await writeFile(wait, '');
    kill(killedPid);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await world.restart();

    expect(world.pods.get(pod.id)).toEqual({ ...pod, state: 'ready' });
    expect(world.containers.get(lives)).toEqual(before);
    expect(await output(world, lives, 'cat /proc/1/comm')).toBe('catatonit');
    expect(world.containers.get(ends)).toMatchObject({ state: 'exited', exitCode: 23, reason: 'Error' });
    expect(world.containers.get(killed)).toMatchObject({ state: 'exited', exitCode: 137 });
    await world.containers.start(created);
    await ready(world, lives);
    await world.containers.stop(lives, 10);
    expect(world.containers.get(lives)).toMatchObject({ state: 'exited', exitCode: 7 });
    await world.task.kill(pod.id, 9);
    await until('the init process is watched again', () => world.pods.get(pod.id).state === 'notready');
    await world.pods.remove(pod.id);
    expect(await world.leftovers()).toEqual([]);
  });

  test('a container whose start was not acknowledged is what it really is', async () => {
    const pod = await world.pods.run(podConfig());
    const runs = await started(world, pod.id, shell(UNTIL_TERM));
    const ended = await started(world, pod.id, shell('exit 5'));
    await exited(world, ended);
    const ends = await started(world, pod.id, shell('sleep 0.3; exit 6'));
    await setState('containers', runs, 'created');
    await setState('containers', ends, 'created');
    await world.stopServices();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await world.restart();
    expect(world.containers.get(runs)).toMatchObject({ state: 'running', pid: expect.any(Number) });
    expect(world.containers.get(ends)).toMatchObject({ state: 'exited', exitCode: 6 });
    expect(await output(world, runs, 'echo in')).toBe('in');
  });

  test('what was being made is undone, whatever there is of it', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: SHARED }));
    const half = await world.pods.run(podConfig({ namespaces: SHARED }));
    const { id: created } = await world.containers.create(pod.id, shell(UNTIL_TERM));
    await setState('pods', half.id, 'creating');
    await setState('containers', created, 'creating');
    await world.restart();
    expect(world.pods.list().map(({ id }) => id)).toEqual([pod.id]);
    expect(() => world.pods.get(half.id)).toThrow(expect.objectContaining({ kind: 'NotFound' }));
    expect(() => world.containers.get(created)).toThrow(expect.objectContaining({ kind: 'NotFound' }));
    expect((await world.leftovers()).filter((what) => what.includes(half.id) || what.includes(created))).toEqual([]);
    await world.pods.run(half.config);
  });

  test('an interrupted stop is brought to its end', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: OWN }));
    await setState('pods', pod.id, 'notready');
    await world.restart();
    expect(await world.network.attachments()).toEqual([]);
    expect((await world.leftovers()).filter((what) => what.includes('netns'))).toEqual([]);
  });

  test('a pod that lost a namespace is not ready, and its address is given back', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: OWN }));
    await world.stopServices();
    await removeNamespace(pod.namespaces.network ?? '');
    await world.restart();
    expect(world.pods.get(pod.id).state).toBe('notready');
    expect(await world.network.attachments()).toEqual([]);
  });

  test('what no row owns is removed: directories with their mounts, pins, attachments', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: OWN }));
    const { id } = await world.containers.create(pod.id, shell(UNTIL_TERM));
    const { snapshotter } = world;
    await world.store.transaction((tx) => {
      tx.run('DELETE FROM containers');
      tx.run('DELETE FROM pods');
    });
    await mkdir(join(world.state, 'containers', 'stray'));
    await world.restart();
    const left = (await world.leftovers()).filter((what) => what !== `snapshot ${id}`);
    expect(left).toEqual([]);
    expect(snapshotter).toBeDefined();
    await world.snapshotter.remove(id);
  });
});

describe('after a reboot', () => {
  test('pods are not ready and their addresses free, the end of what ran is unknown', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: SHARED }));
    const running = await started(world, pod.id, shell(UNTIL_TERM, inPodPid));
    const ended = await started(world, pod.id, shell('exit 4'));
    await exited(world, ended);
    // As a reboot leaves it: every process and mount gone, the rows of another boot.
    for (const id of [running, pod.id]) await world.task.kill(id, 9, { all: true });
    await exited(world, running);
    await world.stopServices();
    await world.loseState();
    await world.restart(async (store) => {
      await store.transaction((tx) => {
        tx.run("UPDATE pods SET state = 'ready', data = json_set(data, '$.bootId', 'another boot')");
        tx.run("UPDATE containers SET data = json_set(data, '$.bootId', 'another boot')");
        tx.run("UPDATE containers SET state = 'running' WHERE id = ?", running);
      });
    });
    expect(world.pods.get(pod.id).state).toBe('notready');
    expect(await world.network.attachments()).toEqual([]);
    const unknown = { state: 'exited', exitCode: 255, reason: 'ContainerStatusUnknown' };
    expect(world.containers.get(running)).toMatchObject(unknown);
    expect(world.containers.get(ended)).toMatchObject({ exitCode: 4, reason: 'Error' });
    await world.pods.remove(pod.id);
    expect(await world.leftovers()).toEqual([]);
  });
});

test('what belongs to an earlier boot is over, even where the state directory survived', async () => {
  const pod = await world.pods.run(podConfig());
  const id = await started(world, pod.id, shell(UNTIL_TERM));
  await world.restart(async (store) => {
    await store.transaction((tx) => {
      for (const table of ['pods', 'containers']) {
        tx.run(`UPDATE ${table} SET data = json_set(data, '$.bootId', 'another boot')`);
      }
    });
  });
  expect(world.pods.get(pod.id).state).toBe('notready');
  expect(world.containers.get(id)).toMatchObject({ state: 'exited', exitCode: 255, message: 'the host was restarted' });
});

test('a start that hangs does not hold up the stop, and leaves nothing', async () => {
  const script = join(world.directory, 'hanging-runtime');
  const { stdout } = await promisify(execFile)('sh', ['-c', 'command -v runc']);
  await writeFile(script, `#!/bin/sh\ncase " $* " in *" create "*) sleep 60 ;; esac\nexec ${stdout.trim()} "$@"\n`);
  await chmod(script, 0o755);
  await using slow = await PodWorld.create({ runtimePath: script });
  const pod = await slow.pods.run(podConfig());
  const { id } = await slow.containers.create(pod.id, shell(UNTIL_TERM));
  const starting = slow.containers.start(id).catch((error: unknown) => error);
  await new Promise((resolve) => setTimeout(resolve, 200));
  const before = Date.now();
  await slow.containers.stop(id, 1);
  expect(Date.now() - before).toBeLessThan(5000);
  expect(await starting).toMatchObject({ kind: 'Cancelled' });
  expect(slow.containers.get(id)).toMatchObject({ state: 'exited', exitCode: 128, reason: 'StartError' });
  await slow.pods.remove(pod.id);
  expect(await slow.leftovers()).toEqual([]);
});
