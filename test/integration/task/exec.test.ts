import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { TaskSpec } from '../../../src/task/index.ts';
import { ociProcess } from '../../fixtures/oci-spec.ts';
import { cgroupsBelow, makeTaskHost, processesNaming, type TaskHost } from '../../fixtures/task-host.ts';

const OUTPUT_BYTES_MAX = 1024 * 1024;

describe('exec', () => {
  let host: TaskHost;
  let spec: TaskSpec;
  beforeAll(async () => {
    host = await makeTaskHost();
    spec = await host.run(['sleep', '1000']);
  });
  afterAll(async () => {
    const left = [await cgroupsBelow(spec.cgroupsPath), await filesOf(spec)];
    await host[Symbol.asyncDispose]();
    expect(left).toEqual([[], ['pid', 'task.json']]);
  });

  const exec = (
    args: readonly string[],
    options: { timeoutMs?: number; outputBytesMax?: number; signal?: AbortSignal } = {},
  ) => host.tasks.exec(spec.id, ociProcess(args), { timeoutMs: 10_000, outputBytesMax: OUTPUT_BYTES_MAX, ...options });

  async function filesOf({ id }: TaskSpec): Promise<string[]> {
    return (await readdir(`${host.directory}/state/tasks/${id}`)).filter((name) => name !== 'runtime.log').sort();
  }

  test('gives both streams and the exit code', async () => {
    const result = await exec(['sh', '-c', 'echo out; echo err >&2; exit 9']);
    expect(result).toEqual({
      exitCode: 9,
      stdout: Buffer.from('out\n'),
      stderr: Buffer.from('err\n'),
      truncated: false,
    });
  });

  test.each([0, 1, 127, 255])('an exit code of %d is the command’s own', async (code) => {
    expect(await exec(['sh', '-c', `exit ${code}`])).toMatchObject({ exitCode: code });
  });

  test('a death by a signal is 128 and the signal', async () => {
    expect(await exec(['sh', '-c', 'kill -9 $$'])).toMatchObject({ exitCode: 137 });
  });

  test('a command that is not there is the words of the runtime', async () => {
    await expect(exec(['no-such-command'])).rejects.toMatchObject({
      kind: 'Unknown',
      message: 'runc exec: exec: "no-such-command": executable file not found in $PATH',
    });
  });

  test('beyond its time the command is killed, and its descendants in other sessions too', async () => {
    const marker = `4${process.pid}`;
    const command = `setsid sh -c "setsid sleep ${marker}1 & sleep ${marker}2" & sleep ${marker}3`;
    const startedAt = performance.now();
    await expect(exec(['sh', '-c', command], { timeoutMs: 300 })).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(await processesNaming(marker)).toEqual([]);
  });

  test('a command that forks without end is killed as well', async () => {
    const marker = `5${process.pid}`;
    const command = `f() { sleep ${marker} & }; while :; do f; done`;
    await expect(exec(['sh', '-c', command], { timeoutMs: 200 })).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    expect(await processesNaming(marker)).toEqual([]);
  });

  test('a time that is over before the command began leaves nothing of it', async () => {
    const marker = `6${process.pid}`;
    for (const timeoutMs of [1, 5, 10, 15, 20, 25]) {
      await expect(exec(['sleep', marker], { timeoutMs })).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
      expect(await processesNaming(marker)).toEqual([]);
    }
  });

  test('a cancelled command is killed', async () => {
    const marker = `7${process.pid}`;
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 100);
    await expect(exec(['sleep', marker], { signal: abort.signal })).rejects.toMatchObject({ kind: 'Cancelled' });
    expect(await processesNaming(marker)).toEqual([]);
  });

  test('output beyond the limit is dropped, each stream for itself, and the command is not held up', async () => {
    const command = 'dd if=/dev/zero bs=1M count=20 2>/dev/null; echo short >&2';
    const result = await exec(['sh', '-c', command], { outputBytesMax: 1000 });
    expect(result).toMatchObject({ exitCode: 0, truncated: true, stderr: Buffer.from('short\n') });
    expect(result.stdout).toHaveLength(1000);
  });

  test('five million bytes arrive whole', async () => {
    const result = await exec(['seq', '700000'], { outputBytesMax: 16 * 1024 * 1024 });
    const expected = Array.from({ length: 700_000 }, (_, index) => `${index + 1}\n`).join('');
    expect(result.stdout.equals(Buffer.from(expected))).toBe(true);
    expect(result.truncated).toBe(false);
  });

  test('a background child that keeps the pipes open does not hold up the call, and lives on in the container', async () => {
    const marker = `8${process.pid}`;
    const startedAt = performance.now();
    const result = await exec(['sh', '-c', `sleep ${marker} & echo started; exit 5`]);
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    expect(result).toMatchObject({ exitCode: 5, stdout: Buffer.from('started\n') });
    const [child] = await processesNaming(marker);
    expect(await readFile(`/proc/${child?.split(' ')[0]}/cgroup`, 'utf8')).not.toContain('cairn-exec');
    expect(await readFile(`/proc/${child?.split(' ')[0]}/cgroup`, 'utf8')).toContain(spec.cgroupsPath);
    process.kill(Number(child?.split(' ')[0]), 'SIGKILL');
  });

  test('even when that child keeps writing', async () => {
    const marker = `9${process.pid}`;
    const startedAt = performance.now();
    const result = await exec(['sh', '-c', `sh -c "while :; do echo noise ${marker}; done" & exit 0`]);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(result.exitCode).toBe(0);
    // Its pipe has no reader any more.
    for (let n = 0; n < 50 && (await processesNaming(marker)).length > 0; n++) await sleep(20);
    expect(await processesNaming(marker)).toEqual([]);
  });

  test('twenty at once each get their own', async () => {
    const some = (n: number) => exec(['sh', '-c', `echo ${n}; exit ${n}`], { timeoutMs: 60_000 });
    const results = await Promise.all(Array.from({ length: 20 }, (_, n) => some(n)));
    expect(results.map(({ exitCode, stdout }) => [exitCode, stdout.toString()])).toEqual(
      Array.from({ length: 20 }, (_, n) => [n, `${n}\n`]),
    );
  });

  test('it leaves no descriptor and no zombie', async () => {
    const count = async () => {
      return (await readdir('/proc/self/fd')).length;
    };
    await exec(['true']);
    const before = await count();
    for (let n = 0; n < 5; n++) await exec(['true']);
    await sleep(20);
    expect(await count()).toBeLessThanOrEqual(before);
    expect(await zombies()).toEqual([]);
  });

  test('in a container that has ended it is FailedPrecondition; in an unknown one NotFound', async () => {
    const ended = await host.run(['true']);
    await host.tasks.wait(ended.id);
    const options = { timeoutMs: 1000, outputBytesMax: 10 };
    await expect(host.tasks.exec(ended.id, ociProcess(['true']), options)).rejects.toMatchObject({
      kind: 'FailedPrecondition',
    });
    await host.tasks.delete(ended);
    await expect(host.tasks.exec(ended.id, ociProcess(['true']), options)).rejects.toMatchObject({ kind: 'NotFound' });
  });
});

async function zombies(): Promise<string[]> {
  const children = await readFile(`/proc/self/task/${process.pid}/children`, 'utf8');
  const states = children
    .split(' ')
    .filter(Boolean)
    .map(async (pid) => ((await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')).includes(') Z ') ? pid : ''));
  return (await Promise.all(states)).filter(Boolean);
}
