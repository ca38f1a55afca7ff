import { spawn } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import type { TaskSpec } from '../../../src/task/index.ts';
import { makeTaskHost, processesNaming, type TaskHost } from '../../fixtures/task-host.ts';

const DAEMON = new URL('../../fixtures/task-daemon.ts', import.meta.url).pathname;

describe('after a restart of the daemon', () => {
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

  /** Runs another daemon that makes the task and dies of SIGKILL, at a failpoint or when it has started it. */
  async function madeByDeadDaemon(spec: TaskSpec, failpoint?: string, exec: readonly string[] = []): Promise<void> {
    const child = spawn(process.execPath, [DAEMON, join(host.directory, 'state'), JSON.stringify(spec), ...exec], {
      env: { ...process.env, NODE_OPTIONS: '', ...(failpoint && { CAIRN_FAILPOINTS: `${failpoint}=crash` }) },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const signal = await new Promise((resolve) => child.once('exit', (_code, by) => resolve(by)));
    expect(signal).toBe('SIGKILL');
  }

  test('a running container is found, with its processes, and its end is heard of', async () => {
    const spec = await host.prepare(['sh', '-c', 'echo one; sleep 0.6; echo two; exit 4']);
    await madeByDeadDaemon(spec);
    const found = await host.tasks.recover(spec);
    expect(found?.exit).toBeUndefined();
    expect(await readFile(`/proc/${found?.running?.pid}/cmdline`, 'utf8')).toMatch(/^sh\0-c\0echo one/);
    expect(await readFile(`/proc/${found?.running?.monitorPid}/cmdline`, 'utf8')).toContain('conmon');
    expect(await host.tasks.wait(spec.id)).toMatchObject({ exitCode: 4 });
    expect((await host.log(spec)).map(({ text }) => text)).toEqual(['one', 'two']);
    await host.tasks.delete(spec);
  });

  test('one that ended meanwhile has its own exit code and time', async () => {
    const spec = await host.prepare(['sh', '-c', 'exit 41']);
    await madeByDeadDaemon(spec);
    await sleep(300);
    const found = await host.tasks.recover(spec);
    expect(found).toMatchObject({ exit: { exitCode: 41 } });
    expect(Number((found?.exit?.finishedAtNs ?? 0n) / 1_000_000n)).toBeLessThan(Date.now() - 150);
    expect(await host.tasks.wait(spec.id)).toEqual(found?.exit);
    await host.tasks.delete(spec);
  });

  test('one whose monitor died meanwhile is killed and says so', async () => {
    const spec = await host.run(['sleep', '1000']);
    const monitorPid = (await host.tasks.recover(spec))?.running?.monitorPid ?? 0;
    const tasks = await host.restart();
    process.kill(monitorPid, 'SIGKILL');
    await sleep(50);
    expect(await tasks.recover(spec)).toMatchObject({ exit: { exitCode: 255, reason: expect.stringMatching('lost') } });
    await tasks.delete(spec);
  });

  // Without its daemon conmon goes on: it is met in the middle of the creation, and after it.
  test.each([
    ['task.create.spawn', 0],
    ['task.create.place', 0],
    ['task.create.place', 20],
    ['task.create.place', 25],
    ['task.create.conmon', 0],
    ['task.create.conmon', 200],
    ['task.create.record', 0],
    ['task.start', 0],
  ])('a creation that was cut off at %s, %d ms ago, is undone: it never was', async (failpoint, delayMs) => {
    const spec = await host.prepare(['sleep', '1000']);
    await madeByDeadDaemon(spec, failpoint);
    await sleep(delayMs);
    expect(await host.tasks.recover(spec)).toBeUndefined();
    expect(await host.leftovers()).toEqual([]);
    // It can be made now.
    await host.tasks.create(spec);
    await host.tasks.start(spec);
    await host.tasks.delete(spec);
  });

  test('a start whose success was not written down is known by the runtime', async () => {
    const spec = await host.prepare(['sleep', '1000']);
    await madeByDeadDaemon(spec, 'task.start.record');
    expect(await host.tasks.recover(spec)).toMatchObject({ running: { id: spec.id } });
    await host.tasks.delete(spec);
    const short = await host.prepare(['sh', '-c', 'exit 12']);
    await madeByDeadDaemon(short, 'task.start.record');
    await sleep(100);
    expect(await host.tasks.recover(short)).toMatchObject({ exit: { exitCode: 12 } });
    await host.tasks.delete(short);
  });

  test.each(['task.delete.runtime', 'task.delete.cgroups', 'task.delete.directory'])(
    'a delete that was cut off at %s is completed by the next one',
    async (failpoint) => {
      const spec = await host.prepare(['sleep', '1000'], {});
      await madeByDeadDaemon(spec, failpoint);
      await host.tasks.delete(spec);
      expect(await host.leftovers()).toEqual([]);
    },
  );

  test('a command that was executed for a caller of the dead daemon is ended; the container is not', async () => {
    const marker = `3${process.pid}`;
    const spec = await host.prepare(['sleep', '1000']);
    await madeByDeadDaemon(spec, undefined, ['sleep', marker]);
    expect(await processesNaming(marker)).toHaveLength(1);
    expect(await host.tasks.recover(spec)).toMatchObject({ running: { id: spec.id } });
    expect(await processesNaming(marker)).toEqual([]);
    await host.tasks.delete(spec);
  });

  test('what is unknown is undefined, and a broken record is as none', async () => {
    const spec = await host.prepare(['sleep', '1000']);
    expect(await host.tasks.recover(spec)).toBeUndefined();
    await host.tasks.create(spec);
    await host.restart();
    await writeFile(join(host.directory, 'state/tasks', spec.id, 'task.json'), '{"pid":');
    expect(await host.tasks.recover(spec)).toBeUndefined();
    await rm(spec.logPath ?? '', { force: true });
  });

  test('a process that took over the number of the monitor is not mistaken for it', async () => {
    const spec = await host.run(['sleep', '1000']);
    await host.restart();
    const path = join(host.directory, 'state/tasks', spec.id, 'task.json');
    const record: unknown = JSON.parse(await readFile(path, 'utf8'));
    await writeFile(path, JSON.stringify({ ...(record as object), monitorStartTime: '1', pid: process.pid }));
    expect(await host.tasks.recover(spec)).toMatchObject({ exit: { exitCode: 255 } });
    await host.tasks.delete(spec);
  });
});
