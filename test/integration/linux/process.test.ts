import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import {
  closeDescriptor,
  getLimit,
  makePipe,
  processStartTime,
  runProcess,
  setLimit,
  setStartingFileLimit,
  signalProcess,
  spawnProcess,
  startingFileLimit,
  watchProcess,
} from '../../../src/linux/index.ts';
import { bind } from '../../../src/linux/libc.ts';

const F_SETFD = 2;
const env = { PATH: '/usr/bin:/bin' };
const sh = (script: string, more: Partial<Parameters<typeof runProcess>[0]> = {}) =>
  runProcess({ file: '/bin/sh', args: ['-c', script], env, timeoutMs: 5000, outputBytesMax: 1 << 20, ...more });
const openDescriptors = () => readdirSync('/proc/self/fd').length;

let before: number;
beforeAll(async () => {
  await sh('true');
  before = openDescriptors();
});
afterAll(async () => {
  await sleep(20);
  // Fewer is no leak of ours: in one process with other files, theirs may close meanwhile.
  expect(openDescriptors()).toBeLessThanOrEqual(before);
});

describe('runProcess', () => {
  test('returns exit code and both streams', async () => {
    const result = await sh('cat; echo error >&2; exit 3', { stdinData: 'hello' });
    expect(result).toMatchObject({ code: 3, signal: null, truncated: false });
    expect(result.stdout.toString()).toBe('hello');
    expect(result.stderr.toString()).toBe('error\n');
  });

  test('a child ended by a signal has the signal and no code', async () => {
    expect(await sh('kill -TERM $$')).toMatchObject({ code: null, signal: 15 });
  });

  test('arguments and environment arrive byte for byte', async () => {
    const odd = 'ä "quoted" $x\n';
    const result = await runProcess({
      file: '/bin/sh',
      args: ['-c', 'printf "%s|%s|%s" "$1" "$ODD" "$2"', 'sh', odd, ''],
      env: { ...env, ODD: odd },
      timeoutMs: 5000,
      outputBytesMax: 1000,
    });
    expect(result.stdout.toString()).toBe(`${odd}|${odd}|`);
  });

  test('megabytes flow through both ways', async () => {
    const stdinData = Buffer.alloc(8 << 20, 'x');
    const result = await sh('cat', { stdinData, outputBytesMax: 16 << 20 });
    expect(result.stdout.equals(stdinData)).toBe(true);
  });

  test('output beyond the limit is dropped and the child still ends', async () => {
    const result = await sh('head -c 3000000 /dev/zero; exit 5', { outputBytesMax: 1000 });
    expect(result).toMatchObject({ code: 5, truncated: true });
    expect(result.stdout.length).toBe(1000);
  });

  test('a child that does not read its input is no error', async () => {
    expect((await sh('exec 0<&-; sleep 0.05; exit 4', { stdinData: Buffer.alloc(1 << 20) })).code).toBe(4);
  });

  test('a descendant that keeps the pipe open does not hang the call', async () => {
    const startedAt = performance.now();
    const result = await sh('sleep 3 & echo $!');
    expect(performance.now() - startedAt).toBeLessThan(1500);
    process.kill(Number(result.stdout.toString()), 'SIGKILL');
  });

  test('a timeout kills the whole process group', async () => {
    const { readEnd, writeEnd } = makePipe();
    const reader = spawnProcess({ file: '/bin/cat', args: [], env, stdin: readEnd, stdout: 'pipe' });
    closeDescriptor(readEnd);
    const call = sh('echo $$ >&3; sleep 30 & echo $! >&3; wait', { timeoutMs: 100, extraFds: { 3: writeEnd } });
    closeDescriptor(writeEnd);
    await expect(call).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    // cat ends when the last holder of the pipe is gone.
    const pids = (reader.stdout ? await text(reader.stdout) : '').trim().split('\n').map(Number);
    expect(pids).toHaveLength(2);
    await reader.exited;
  });

  test('an abort kills and says Cancelled', async () => {
    const controller = new AbortController();
    const call = sh('sleep 30', { signal: controller.signal });
    setTimeout(() => controller.abort(), 30);
    await expect(call).rejects.toMatchObject({ kind: 'Cancelled' });
    await expect(sh('true', { signal: controller.signal })).rejects.toMatchObject({ kind: 'Cancelled' });
  });

  test('a program that is missing or not executable throws at once', async () => {
    await expect(sh('', { file: '/no/such/program' })).rejects.toMatchObject({
      code: 'ENOENT',
      path: '/no/such/program',
    });
    await expect(sh('', { file: '/etc/passwd' })).rejects.toMatchObject({ code: 'EACCES' });
    await expect(sh('', { cwd: '/no/such/directory' })).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('a spawned child', () => {
  test('has no descriptor but those it was given, whatever we hold', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'cairn-spawn-'));
    const ours = openSync('/etc/hostname', 'r');
    const other = openSync(join(directory, 'f'), 'w');
    // One that somebody forgot to make close-on-exec.
    const careless = openSync('/etc/hostname', 'r');
    bind('fcntl', ['int', 'int', 'long'])(undefined, careless, F_SETFD, 0);
    try {
      const result = await sh(
        'ls -1 /proc/self/fd | tr "\\n" " "; readlink /proc/self/fd/3 /proc/self/fd/4 /proc/self/fd/7',
        {
          extraFds: { 3: other, 4: ours, 7: 0 },
        },
      );
      const [numbers, three, four] = result.stdout.toString().split(/ (?=\/)|\n/);
      // ls itself opens one more for the directory it lists: the lowest free one, 5.
      expect(numbers).toBe('0 1 2 3 4 5 7');
      expect([three, four]).toEqual([join(directory, 'f'), '/etc/hostname']);
    } finally {
      for (const fd of [ours, other, careless]) closeSync(fd);
      rmSync(directory, { recursive: true });
    }
  });

  test('descriptors may trade places', async () => {
    const [a, b] = [makePipe(), makePipe()];
    const [first, second] = [a.writeEnd, b.writeEnd];
    const script = `echo first > /proc/self/fd/${first}; echo second > /proc/self/fd/${second}`;
    const child = spawnProcess({
      file: '/bin/sh',
      args: ['-c', script],
      env,
      extraFds: { [first]: second, [second]: first },
    });
    expect(await child.exited).toEqual({ code: 0, signal: null });
    const read = (fd: number) => {
      const bytes = Buffer.alloc(20);
      return bytes.subarray(0, readSync(fd, bytes)).toString();
    };
    expect(read(a.readEnd)).toBe('second\n');
    expect(read(b.readEnd)).toBe('first\n');
    for (const fd of [a.writeEnd, b.writeEnd, a.readEnd, b.readEnd]) closeDescriptor(fd);
  });

  test('starts with default signal actions, an empty mask, its own session and its directory', async () => {
    const result = await sh('grep -E "^Sig(Ign|Blk)" /proc/self/status; pwd; cut -d" " -f5,6 /proc/$$/stat; echo $$', {
      cwd: '/usr',
    });
    const [blocked, ignored, directory, groupAndSession, pid] = result.stdout.toString().trim().split('\n');
    expect(blocked).toBe('SigBlk:\t0000000000000000');
    expect(ignored).toBe('SigIgn:\t0000000000000000');
    expect(directory).toBe('/usr');
    expect(groupAndSession).toBe(`${pid} ${pid}`);
  });

  test('has the soft descriptor limit of our start, not the one that Node raised', async () => {
    const chosen = startingFileLimit();
    const { hard } = getLimit(0, 'RLIMIT_NOFILE');
    setStartingFileLimit({ soft: 321n, hard });
    try {
      const result = await sh('sleep 0.01; ulimit -Sn; ulimit -Hn');
      expect(result.stdout.toString()).toBe(`321\n${hard}\n`);
    } finally {
      setStartingFileLimit(chosen);
    }
  });

  test('is killed by number only while it lives', async () => {
    const child = spawnProcess({ file: '/bin/sleep', args: ['30'], env });
    expect(child.kill(0)).toBe(true);
    expect(child.kill(15)).toBe(true);
    expect(await child.exited).toEqual({ code: null, signal: 15 });
    expect(child.kill(0)).toBe(false);
    expect(() => process.kill(child.pid, 0)).toThrow('ESRCH');
  });

  test('many at once all end, and none blocks the loop for long', async () => {
    const results = await Promise.all(Array.from({ length: 40 }, (_, index) => sh(`exit ${index}`)));
    expect(results.map((result) => result.code)).toEqual(results.map((_, index) => index));
  });
});

describe('processes that are not ours to reap', () => {
  test('are watched to their end, and their status is left to the parent', async () => {
    const child = spawn('/bin/sleep', ['30']);
    const pid = child.pid ?? 0;
    const startTime = processStartTime(pid);
    using watched = watchProcess(pid, startTime === undefined ? {} : { startTime });
    expect(signalProcess(pid, 0)).toBe(true);
    expect(signalProcess(pid, 15, { startTime: 1n })).toBe(false);
    const ended = once(child, 'exit');
    expect(watched.kill(15)).toBe(true);
    await watched.exited;
    expect(await ended).toEqual([null, 'SIGTERM']);
    expect(watched.kill(0)).toBe(false);
  });

  test('a process that does not exist, or another of the same number, has ended', async () => {
    await watchProcess(4_194_303).exited;
    expect(signalProcess(4_194_303, 0)).toBe(false);
    expect(processStartTime(4_194_303)).toBeUndefined();
    await watchProcess(process.pid, { startTime: 1n }).exited;
  });

  test('a process that has ended is gone, also while a process group still goes by its number', async () => {
    const leader = spawnProcess({ file: '/bin/sh', args: ['-c', 'sleep 1000 & echo $!'], env, stdout: 'pipe' });
    if (!leader.stdout) throw new Error('no pipe');
    const [line] = (await once(leader.stdout, 'data')) as [Buffer];
    const member = Number(line);
    await leader.exited;
    leader.stdout.destroy();
    try {
      expect(signalProcess(leader.pid, 0)).toBe(false);
      await watchProcess(leader.pid).exited;
      expect(signalProcess(member, 0)).toBe(true);
    } finally {
      process.kill(member, 'SIGKILL');
    }
  });

  test('disposing stops the watch', async () => {
    const watched = watchProcess(process.pid);
    watched[Symbol.dispose]();
    watched[Symbol.dispose]();
    expect(watched.kill(0)).toBe(false);
  });
});

describe('resource limits', () => {
  test('are read and written as the kernel has them', async () => {
    const child = spawnProcess({ file: '/bin/sleep', args: ['30'], env });
    try {
      setLimit(child.pid, 'RLIMIT_CORE', { soft: 0n, hard: 0n });
      setLimit(child.pid, 'RLIMIT_STACK', { soft: 65536n, hard: 131072n });
      const limits = readFileSync(`/proc/${child.pid}/limits`, 'utf8');
      expect(limits).toMatch(/Max core file size\s+0\s+0/);
      expect(limits).toMatch(/Max stack size\s+65536\s+131072/);
      expect(getLimit(child.pid, 'RLIMIT_STACK')).toEqual({ soft: 65536n, hard: 131072n });
    } finally {
      child.kill(9);
      await child.exited;
    }
  });
});
