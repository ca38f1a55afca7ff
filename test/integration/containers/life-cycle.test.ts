/** Containers from creation to removal, on the real kernel, runc and conmon. */
import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { containerConfig, podConfig, resources, security } from '../../fixtures/pod-configs.ts';
import { exited, output, ready, run, shell, started, UNTIL_TERM, until, untilTrap } from '../../fixtures/pod-steps.ts';
import { PodWorld, TEST_IMAGE } from '../../fixtures/pod-world.ts';

let world: PodWorld;
beforeAll(async () => {
  world = await PodWorld.create({ embeddedNetwork: true, image: { env: ['FROM_IMAGE=yes'], stopSignal: 'SIGUSR1' } });
});
// What a failed test leaves must not fail the others.
afterEach(() => world.removeAll());
afterAll(() => world[Symbol.asyncDispose]());

const hostPod = async (changes = {}) => (await world.pods.run(podConfig(changes))).id;

describe('a container', () => {
  test('goes from creation to removal with its pod, and nothing is left', async () => {
    const logDirectory = join(world.directory, 'logs/pod');
    const seen: string[] = [];
    using _pods = world.pods.onTransition(({ to }) => seen.push(`pod ${to}`));
    using _containers = world.containers.onTransition(({ to }) => seen.push(`container ${to}`));
    const pod = await world.pods.run(
      podConfig({ logDirectory, namespaces: { network: 'pod', pid: 'container', ipc: 'pod' } }),
    );
    expect(pod).toMatchObject({ state: 'ready', ips: [expect.stringMatching(/^10\./)] });
    const config = shell(`echo hello; ${UNTIL_TERM}`, {
      ...{ logPath: 'app/0.log', env: [{ key: 'COLOR', value: 'green' }], stopSignal: 15 },
    });
    const container = await world.containers.create(pod.id, config);
    expect(container).toMatchObject({ state: 'created', pid: undefined, logPath: join(logDirectory, 'app/0.log') });
    await world.containers.start(container.id);
    const running = world.containers.get(container.id);
    expect(running).toMatchObject({ state: 'running', pid: expect.any(Number) });

    const exec = await world.containers.execSync(
      container.id,
      ['/bin/sh', '-c', 'echo $COLOR $FROM_IMAGE; exit 3'],
      10,
    );
    expect([exec.exitCode, String(exec.stdout)]).toEqual([3, 'green yes\n']);
    const { name } = pod.config.metadata;
    expect(await output(world, container.id, 'hostname')).toBe(name);
    expect(await output(world, container.id, 'cat /etc/hosts')).toContain(`${pod.ips[0]}\t${name}`);

    await ready(world, container.id);
    await world.containers.stop(container.id, 10);
    const ended = world.containers.get(container.id);
    expect(ended).toMatchObject({ state: 'exited', exitCode: 7, reason: 'Error', pid: undefined });
    expect(ended.finishedAtNs).toBeGreaterThan(ended.startedAtNs);
    expect(await readFile(container.logPath, 'utf8')).toMatch(/^\S+ stdout F hello\n$/);
    await world.containers.remove(container.id);
    await world.pods.remove(pod.id);
    expect(await world.leftovers()).toEqual([]);
    expect(seen).toEqual([
      ...['pod creating', 'pod ready', 'container creating', 'container created', 'container running'],
      ...['container exited', 'container removed', 'pod notready', 'pod removed'],
    ]);
  });

  test('shares network, IPC and host name with the others of its pod, and no PIDs', async () => {
    const pod = await world.pods.run(podConfig({ namespaces: { network: 'pod', pid: 'container', ipc: 'pod' } }));
    const [one, two] = await Promise.all([1, 2].map(() => started(world, pod.id, shell(UNTIL_TERM))));
    if (!one || !two) throw new Error('no containers');
    const namespaces = (id: string) => output(world, id, 'cd /proc/1/ns; readlink net ipc uts pid');
    const [ofOne, ofTwo] = [await namespaces(one), await namespaces(two)].map((text) => text.split('\n'));
    expect(ofOne?.slice(0, 3)).toEqual(ofTwo?.slice(0, 3));
    expect(ofOne?.[3]).not.toBe(ofTwo?.[3]);
    await output(world, one, 'echo from one > /dev/shm/note');
    expect(await output(world, two, 'cat /dev/shm/note')).toBe('from one');
    expect(await output(world, two, 'df -k /dev/shm | tail -1')).toMatch(/\b65536\b/);
    await world.pods.remove(pod.id);
    expect(world.containers.list({ podId: pod.id })).toEqual([]);
  });

  test.each([
    ['true', 0, 'Completed'],
    ['exit 42', 42, 'Error'],
    ['kill -9 $$', 137, 'Error'],
  ])('that runs %j has exit code %i, reason %s', async (script, exitCode, reason) => {
    const podId = await hostPod();
    // The first process of a PID namespace is immune to its own SIGKILL: it is a child's here.
    const command = script.startsWith('kill') ? `sh -c '${script}'; exit $?` : script;
    expect(await run(world, podId, shell(command))).toMatchObject({ exitCode, reason });
    await world.pods.remove(podId);
  });

  test('that needs more memory than it may have is OOMKilled', async () => {
    const podId = await hostPod();
    const limits = { ...resources, memoryLimitBytes: 16 << 20 };
    const greedy = shell('text=x; while :; do text=$text$text; done', { resources: limits });
    expect(await run(world, podId, greedy)).toMatchObject({ exitCode: 137, reason: 'OOMKilled' });
    await world.pods.remove(podId);
  });

  test('whose command does not exist is exited with StartError, 128 and the words of the runtime', async () => {
    const podId = await hostPod();
    const config = containerConfig({ image: TEST_IMAGE, command: ['/no/such/command'] });
    const { id } = await world.containers.create(podId, config);
    await expect(world.containers.start(id)).rejects.toThrow(/\/no\/such\/command.*no such file or directory/s);
    expect(world.containers.get(id)).toMatchObject({
      ...{ state: 'exited', exitCode: 128, reason: 'StartError' },
      message: expect.stringContaining('/no/such/command'),
    });
    await world.containers.remove(id);
    expect((await world.leftovers()).filter((path) => path.includes(id))).toEqual([]);
    await world.pods.remove(podId);
  });

  test("is stopped by the image's signal unless the caller names one, and killed when it does not listen", async () => {
    const podId = await hostPod();
    const byImage = await ready(world, await started(world, podId, shell(untilTrap('trap "exit 5" USR1'))));
    await world.containers.stop(byImage, 10);
    expect(world.containers.get(byImage).exitCode).toBe(5);
    const deaf = await ready(world, await started(world, podId, shell(untilTrap('trap "" USR1 TERM'))));
    const before = Date.now();
    await world.containers.stop(deaf, 1);
    expect(Date.now() - before).toBeGreaterThanOrEqual(1000);
    expect(world.containers.get(deaf)).toMatchObject({ exitCode: 137, reason: 'Error' });
    await world.containers.stop(deaf, 1);
    await world.pods.remove(podId);
  });

  test('a second stop with less patience does not wait for the first', async () => {
    const podId = await hostPod();
    const id = await started(world, podId, shell(untilTrap('trap "" USR1')));
    const patient = world.containers.stop(id, 60);
    await world.containers.stop(id, 0);
    await patient;
    expect(world.containers.get(id).exitCode).toBe(137);
    await world.pods.remove(podId);
  });

  test('that runs is killed by its removal, and by that of its pod', async () => {
    const podId = await hostPod();
    const id = await started(world, podId, shell(UNTIL_TERM));
    await world.containers.remove(id);
    await world.containers.remove(id);
    await started(world, podId, shell(UNTIL_TERM));
    await world.pods.stop(podId);
    expect(world.containers.list({ podId })).toMatchObject([{ state: 'exited', exitCode: 137 }]);
    await world.pods.remove(podId);
    await world.pods.remove(podId);
    await world.pods.stop(podId);
    await world.containers.stop(id, 1);
    expect(await world.leftovers()).toEqual([]);
  });

  test('has its log reopened after a rotation', async () => {
    const podId = await hostPod({ logDirectory: join(world.directory, 'logs/rotated') });
    const script = untilTrap('echo first; trap "echo second" USR1');
    const id = await ready(world, await started(world, podId, shell(script, { logPath: '0.log' })));
    const { logPath } = world.containers.get(id);
    await until('the first line', async () => (await readFile(logPath, 'utf8')).includes('first'));
    await rename(logPath, `${logPath}.1`);
    await world.containers.reopenLog(id);
    await world.task.kill(id, 10);
    await until('the second line', async () => (await readFile(logPath, 'utf8')).includes('second'));
    expect(await readFile(`${logPath}.1`, 'utf8')).not.toContain('second');
    await world.pods.remove(podId);
  });
});

describe('what a container can not do', () => {
  const precondition = expect.objectContaining({ kind: 'FailedPrecondition' });

  test('be started twice, be entered or have its log reopened when it does not run', async () => {
    const podId = await hostPod();
    const { id } = await world.containers.create(podId, shell(UNTIL_TERM));
    await expect(world.containers.execSync(id, ['/bin/true'], 1)).rejects.toEqual(precondition);
    await expect(world.containers.reopenLog(id)).rejects.toEqual(precondition);
    await world.containers.stop(id, 0);
    expect(world.containers.get(id).state).toBe('created');
    await world.containers.start(id);
    await expect(world.containers.start(id)).rejects.toEqual(precondition);
    await world.pods.stop(podId);
    await expect(world.containers.start(id)).rejects.toEqual(precondition);
    await expect(world.containers.create(podId, shell('true'))).rejects.toEqual(precondition);
    await world.pods.remove(podId);
  });

  test('take the name and attempt of another one in its pod', async () => {
    const podId = await hostPod();
    const config = shell('true');
    const { id } = await world.containers.create(podId, config);
    await expect(world.containers.create(podId, config)).rejects.toMatchObject({
      ...{ kind: 'AlreadyExists', message: expect.stringContaining(id) },
    });
    await world.containers.create(podId, { ...config, attempt: 1 });
    await world.containers.remove(id);
    await world.containers.create(podId, config);
    await world.pods.remove(podId);
  });

  test.each([
    ['an image that is not here', { image: 'localhost/none:latest' }, 'NotFound'],
    ['no command', { command: [] }, 'InvalidArgument'],
    ['an unknown user', { security: { ...security, runAsUsername: 'ghost' } }, 'InvalidArgument'],
    ['an unknown capability', { security: { ...security, addCapabilities: ['FLY'] } }, 'InvalidArgument'],
    ['privileges that its pod has not', { security: { ...security, privileged: true } }, 'InvalidArgument'],
    ['a log outside', { logPath: '../../etc/x' }, 'InvalidArgument'],
    [
      'a device that is none',
      { devices: [{ hostPath: '/etc/passwd', containerPath: '/x', permissions: 'r' }] },
      'InvalidArgument',
    ],
    [
      'a seccomp profile that is not there',
      { security: { ...security, seccomp: { kind: 'localhost' as const, path: '/no/profile' } } },
      'InvalidArgument',
    ],
    [
      'an unknown target',
      { security: { ...security, pid: { mode: 'target' as const, targetId: 'x' } } },
      'FailedPrecondition',
    ],
  ])('be made with %s; nothing is left of the attempt', async (_name, changes, kind) => {
    const podId = await hostPod({ logDirectory: join(world.directory, 'logs/none') });
    await expect(world.containers.create(podId, shell('true', changes))).rejects.toMatchObject({ kind });
    await world.pods.remove(podId);
    expect(await world.leftovers()).toEqual([]);
  });

  test('be made or found without its pod', async () => {
    await expect(world.containers.create('0'.repeat(64), shell('true'))).rejects.toMatchObject({ kind: 'NotFound' });
    await expect(world.containers.start('0'.repeat(64))).rejects.toMatchObject({ kind: 'NotFound' });
  });
});

test('the exit of a short container is never missed, many at once', async () => {
  const podId = await hostPod();
  const ids = await Promise.all(Array.from({ length: 6 }, (_, code) => started(world, podId, shell(`exit ${code}`))));
  const codes = await Promise.all(ids.map(async (id) => (await exited(world, id)).exitCode));
  expect(codes).toEqual([0, 1, 2, 3, 4, 5]);
  await world.pods.remove(podId);
});
