import { access, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { parseProcessCgroups, processesOf } from '../../../src/linux/index.ts';
import { cgroupsBelow, makeTaskHost, type TaskHost } from '../../fixtures/task-host.ts';

describe('the life of a task', () => {
  let host: TaskHost;
  beforeAll(async () => {
    host = await makeTaskHost();
  });
  afterAll(async () => {
    await host[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    const left = await host.leftovers();
    await host.clean();
    expect(left).toEqual([]);
  });

  test('it runs its command, ends with its exit code, and its two streams are in a CRI log', async () => {
    const before = Date.now();
    const spec = await host.run(['sh', '-c', 'echo out; echo err >&2; printf unfinished; exit 7']);
    const exit = await host.tasks.wait(spec.id);
    expect(exit).toMatchObject({ exitCode: 7, oomKilled: false });
    expect(exit.reason).toBeUndefined();
    // The kernel stamps files with the time of its last tick.
    expect(Number(exit.finishedAtNs / 1_000_000n)).toBeGreaterThanOrEqual(before - 20);
    expect(Number(exit.finishedAtNs / 1_000_000n)).toBeLessThanOrEqual(Date.now());
    const log = await host.log(spec);
    expect(log.filter((line) => line.stream === 'stdout').map(({ tag, text }) => tag + text)).toEqual([
      'Fout',
      'Punfinished',
    ]);
    expect(log.filter((line) => line.stream === 'stderr').map(({ text }) => text)).toEqual(['err']);
    for (const { time } of log) expect(Date.parse(time)).toBeGreaterThanOrEqual(before);
    expect(await host.tasks.wait(spec.id)).toEqual(exit);
    await host.tasks.delete(spec);
  });

  test('nothing of it runs before start', async () => {
    const spec = await host.prepare(['sh', '-c', 'echo ran']);
    const { pid } = await host.tasks.create(spec);
    await sleep(100);
    expect(await host.log(spec)).toEqual([]);
    expect(await readFile(`/proc/${pid}/cgroup`, 'utf8')).toContain(spec.cgroupsPath);
    await host.tasks.start(spec);
    await host.tasks.wait(spec.id);
    expect((await host.log(spec)).map(({ text }) => text)).toEqual(['ran']);
    await host.tasks.delete(spec);
  });

  test.each([
    ['SIGTERM', 15, 143],
    ['SIGKILL', 9, 137],
  ])('a death by %s is 128 and the signal', async (_name, signal, exitCode) => {
    // The init of a PID namespace ignores a SIGTERM that it has no handler for; in the host's it dies of it.
    const spec = await host.run(['sleep', '100'], { pidNamespace: signal === 9 });
    await sleep(50);
    await host.tasks.kill(spec.id, signal);
    expect(await host.tasks.wait(spec.id)).toMatchObject({ exitCode });
    await host.tasks.kill(spec.id, signal);
    await host.tasks.kill(spec.id, signal, { all: true });
    await host.tasks.delete(spec);
  });

  test('in the PID namespace of the host, a kill of all reaches those that outlived the command', async () => {
    const spec = await host.run(['sh', '-c', 'setsid sleep 1000 </dev/null >/dev/null 2>&1 & exit 0'], {
      pidNamespace: false,
    });
    expect(await host.tasks.wait(spec.id)).toMatchObject({ exitCode: 0 });
    const survivors = () => processesOf(spec.cgroupsPath);
    expect(await survivors()).toHaveLength(1);
    await host.tasks.kill(spec.id, 9, { all: true });
    expect(await survivors()).toHaveLength(0);
    await host.tasks.delete(spec);
  });

  test('the monitor sits beside the container, and the container has the limits of its specification and no stray descriptor', async () => {
    const spec = await host.run(['sleep', '100']);
    const names = (await cgroupsBelow(host.cgroupParent)).map((path) => path.split('/').at(-1));
    expect(new Set(names)).toEqual(new Set([spec.id, `cairn-conmon-${spec.id}`]));
    const recovered = await host.tasks.recover(spec);
    const pid = recovered?.running?.pid;
    const monitorPid = recovered?.running?.monitorPid;
    const cgroups = parseProcessCgroups(await readFile(`/proc/${monitorPid}/cgroup`, 'utf8'));
    const limiting = cgroups.has('memory') ? 'memory' : 'unified';
    expect(cgroups.get(limiting)).toBe(`${host.cgroupParent}/cairn-conmon-${spec.id}`);
    // The runtime says that it has started the command a moment before the command replaces it.
    while (!(await readFile(`/proc/${pid}/cmdline`, 'utf8')).startsWith('sleep')) await sleep(1);
    expect(await readdir(`/proc/${pid}/fd`)).toEqual(['0', '1', '2']);
    expect(await readFile(`/proc/${pid}/limits`, 'utf8')).toMatch(/Max open files +1024 +1024/);
    await host.tasks.delete(spec);
  });

  test('a command that the image lacks fails the creation with the words of the runtime', async () => {
    const spec = await host.prepare(['no-such-command']);
    await expect(host.tasks.create(spec)).rejects.toMatchObject({
      kind: 'Unknown',
      step: 'task.create',
      message: 'runc create: exec: "no-such-command": executable file not found in $PATH',
    });
    expect(await readdir(spec.bundle)).toEqual(['config.json']);
    expect(await host.tasks.recover(spec)).toBeUndefined();
  });

  test.each([
    [
      'a runtime that is not there',
      { runtime: { name: 'gone', path: '/no/runtime', rootDirectory: '/tmp' } },
      /no\/runtime/,
    ],
    ['a log that conmon can not open', { logPath: '/no/such/directory/log' }, /^conmon: Failed to open log file/],
  ])('%s fails the creation and says so', async (_name, task, message) => {
    const spec = await host.prepare(['true'], { task });
    await expect(host.tasks.create(spec)).rejects.toMatchObject({
      kind: 'Unknown',
      message: expect.stringMatching(message),
    });
  });

  test('a specification that the runtime refuses leaves nothing', async () => {
    const spec = await host.prepare(['true']);
    await writeFile(join(spec.bundle, 'config.json'), '{"ociVersion":"1.0.2"}');
    await expect(host.tasks.create(spec)).rejects.toThrow(/^runc create: /);
  });

  test('a cancelled creation leaves nothing, however far it was', async () => {
    for (const afterMs of [0, 3, 10, 20, 30]) {
      const spec = await host.prepare(['sleep', '100']);
      const abort = new AbortController();
      const creating = host.tasks.create(spec, abort.signal);
      creating.catch(() => undefined);
      await sleep(afterMs);
      abort.abort();
      const outcome = await creating.then(
        () => 'created',
        (error: { kind: string }) => error.kind,
      );
      if (outcome === 'created') await host.tasks.delete(spec);
      else expect(outcome).toBe('Cancelled');
      expect(await host.leftovers()).toEqual([]);
    }
  });

  test('it is there once, and may be made again when it was deleted; a delete may be repeated', async () => {
    const spec = await host.run(['sleep', '100']);
    await expect(host.tasks.create(spec)).rejects.toMatchObject({ kind: 'AlreadyExists' });
    const waiting = host.tasks.wait(spec.id);
    await host.tasks.delete(spec);
    await host.tasks.delete(spec);
    expect(await waiting).toMatchObject({ exitCode: 137 });
    await expect(host.tasks.wait(spec.id)).rejects.toMatchObject({ kind: 'NotFound' });
    await host.tasks.create(spec);
    await host.tasks.start(spec);
    await host.tasks.delete(spec);
    await expect(access(spec.logPath ?? '')).resolves.toBeUndefined();
  });

  test('a task without a log throws its output away', async () => {
    const spec = await host.run(['sh', '-c', 'echo lost; exit 3'], { task: { logPath: undefined } });
    expect(await host.tasks.wait(spec.id)).toMatchObject({ exitCode: 3 });
    await host.tasks.delete(spec);
  });

  test('a kill for want of memory is noted', async () => {
    const spec = await host.run(['sh', '-c', 'dd if=/dev/zero of=/dev/null bs=256M count=1'], {
      memoryLimitBytes: 16 * 1024 * 1024,
    });
    const exit = await host.tasks.wait(spec.id);
    expect(exit).toMatchObject({ exitCode: 137, oomKilled: true });
    // conmon also writes into its working directory, which must not be ours.
    await expect(access('oom')).rejects.toMatchObject({ code: 'ENOENT' });
    await host.tasks.delete(spec);
  });

  test('a container whose monitor is killed is killed, and its exit says why', async () => {
    const spec = await host.run(['sh', '-c', 'sleep 1000 & sleep 1000'], { pidNamespace: false });
    await sleep(50);
    const { running } = (await host.tasks.recover(spec)) ?? {};
    process.kill(running?.monitorPid ?? 0, 'SIGKILL');
    const exit = await host.tasks.wait(spec.id);
    expect(exit).toMatchObject({ exitCode: 255, reason: expect.stringContaining('was lost') });
    expect(await processesOf(spec.cgroupsPath)).toEqual([]);
    // After a restart it still says so.
    await host.restart();
    expect((await host.tasks.recover(spec))?.exit).toEqual(exit);
    await host.tasks.delete(spec);
  });
});
