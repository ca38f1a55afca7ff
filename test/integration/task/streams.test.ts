import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { OpenExec, OpenExecOptions, TaskSpec } from '../../../src/task/index.ts';
import { ociProcess } from '../../fixtures/oci-spec.ts';
import { cgroupsBelow, makeTaskHost, processesNaming, type TaskHost } from '../../fixtures/task-host.ts';

const ALL = { terminal: false, stdin: true, stdout: true, stderr: true };
const TERMINAL = { terminal: true, stdin: true, stdout: true, stderr: false };

async function text(source: AsyncIterable<Buffer> | undefined): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of source ?? []) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

/** Reads until `wanted` has come. */
async function until(source: AsyncIterable<Buffer> | undefined, wanted: string): Promise<string> {
  if (!source) throw new Error('no output');
  const iterator = source[Symbol.asyncIterator]();
  let seen = '';
  while (!seen.includes(wanted)) {
    const { value, done } = await iterator.next();
    if (done === true) throw new Error(`ended before ${JSON.stringify(wanted)}: ${JSON.stringify(seen)}`);
    seen += value.toString();
  }
  return seen;
}

const descriptors = async () => (await readdir('/proc/self/fd')).length;

describe('open streams of a task', () => {
  let host: TaskHost;
  let spec: TaskSpec;
  beforeAll(async () => {
    host = await makeTaskHost();
    spec = await host.run(['sleep', '1000']);
  });
  afterAll(async () => {
    const left = await cgroupsBelow(spec.cgroupsPath);
    const files = (await readdir(`${host.directory}/state/tasks/${spec.id}`)).filter((name) => name.startsWith('exec'));
    await host[Symbol.asyncDispose]();
    expect([...left, ...files]).toEqual([]);
  });

  const open = (args: readonly string[], options: OpenExecOptions = ALL): Promise<OpenExec> =>
    host.tasks.openExec(spec.id, ociProcess(args, { terminal: options.terminal }), options);

  describe('a command', () => {
    test('reads its input up to its end, writes both streams and ends with its own code', async () => {
      await using exec = await open(['sh', '-c', 'cat; echo err >&2; exit 9']);
      exec.stdin?.end('hello\n');
      expect(await Promise.all([text(exec.stdout), text(exec.stderr), exec.exitCode])).toEqual(['hello\n', 'err\n', 9]);
    });

    test('is held up by a reader that does not read, and loses nothing', async () => {
      await using exec = await open(['seq', '300000']);
      await sleep(200);
      const expected = Array.from({ length: 300_000 }, (_, index) => `${index + 1}\n`).join('');
      expect((await text(exec.stdout)) === expected).toBe(true);
    });

    test('that leaves a child with its output behind ends all the same, and the child stays', async () => {
      const marker = `71${process.pid}`;
      await using exec = await open(['sh', '-c', `sleep ${marker} & echo done`]);
      expect(await text(exec.stdout)).toBe('done\n');
      await exec[Symbol.asyncDispose]();
      const [child] = await processesNaming(marker);
      process.kill(Number(child?.split(' ')[0]), 'SIGKILL');
    });

    test('is killed with its descendants when its streams are given up', async () => {
      const marker = `72${process.pid}`;
      const before = await descriptors();
      for (const options of [ALL, TERMINAL]) {
        const exec = await open(['sh', '-c', `setsid sleep ${marker} & sleep ${marker}`], options);
        await exec[Symbol.asyncDispose]();
        await expect(exec.exitCode).resolves.toBe(137);
        expect(await processesNaming(marker)).toEqual([]);
      }
      await sleep(20);
      expect(await descriptors()).toBeLessThanOrEqual(before);
    });

    test('whose caller leaves while it starts is killed', async () => {
      const marker = `73${process.pid}`;
      for (const afterMs of [0, 5, 15, 25]) {
        const abort = new AbortController();
        setTimeout(() => abort.abort(), afterMs);
        const opened = open(['sleep', marker], { ...TERMINAL, signal: abort.signal });
        const outcome = await opened.then(
          (exec) => exec[Symbol.asyncDispose]().then(() => 'opened'),
          (error) => error.kind,
        );
        expect(['opened', 'Cancelled']).toContain(outcome);
        expect(await processesNaming(marker)).toEqual([]);
      }
    });

    test.each([ALL, TERMINAL])('that is not there is the words of the runtime', async (options) => {
      await expect(open(['no-such-command'], options)).rejects.toMatchObject({
        kind: 'Unknown',
        message: 'runc exec: exec: "no-such-command": executable file not found in $PATH',
      });
    });

    test('of a service that is closed is killed', async () => {
      const marker = `74${process.pid}`;
      await open(['sleep', marker]);
      await host.restart();
      await host.tasks.recover(spec);
      expect(await processesNaming(marker)).toEqual([]);
    });
  });

  describe('a command on a terminal', () => {
    test('has it as its own, of the size it was given', async () => {
      await using exec = await open(['sh', '-c', 'readlink /proc/self/fd/0; read line; stty size; exit 5'], TERMINAL);
      await exec.resize({ rows: 33, columns: 121 });
      exec.stdin?.write('go\n');
      expect((await text(exec.stdout)).split('\r\n').sort()).toEqual(['', '/dev/pts/0', '33 121', 'go']);
      expect(await exec.exitCode).toBe(5);
    });

    test('hears of a change of size', async () => {
      const script = 'trap "stty size; exit 0" WINCH; echo ready; while :; do sleep 0.05; done';
      await using exec = await open(['sh', '-c', script], TERMINAL);
      await until(exec.stdout, 'ready');
      await exec.resize({ rows: 41, columns: 7 });
      expect(await exec.exitCode).toBe(0);
    });

    test('sees the end of its input as ^D', async () => {
      await using exec = await open(['cat'], TERMINAL);
      exec.stdin?.end('line\n');
      expect(await text(exec.stdout)).toBe('line\r\nline\r\n');
      expect(await exec.exitCode).toBe(0);
    });

    test('a megabyte through it arrives, and one that nobody reads holds up nobody', async () => {
      await using stuck = await open(['sleep', '1000'], TERMINAL);
      stuck.stdin?.write(Buffer.alloc(1 << 20, 'x\n'));
      await using exec = await open(['sh', '-c', 'stty -onlcr; seq 150000'], TERMINAL);
      const expected = Array.from({ length: 150_000 }, (_, index) => `${index + 1}\n`).join('');
      expect((await text(exec.stdout)) === expected).toBe(true);
    });
  });

  describe('attached', () => {
    const run = (script: string, task: Partial<TaskSpec> = {}) =>
      host.run(['sh', '-c', script], { task: { stdin: true, ...task }, terminal: task.terminal ?? false });

    test('two clients at once both see all output; either can type', async () => {
      const { id } = await run('while read line; do echo "got $line"; echo err >&2; done');
      await using first = host.tasks.attach(id, ALL);
      await using second = host.tasks.attach(id, ALL);
      first.stdin?.write('one\n');
      const seen = await Promise.all([first, second].map(({ stdout }) => until(stdout, 'got one\n')));
      expect(seen).toEqual(['got one\n', 'got one\n']);
      second.stdin?.write('two\n');
      expect(await until(first.stdout, 'got two\n')).toBe('got two\n');
      expect(await until(first.stderr, 'err\nerr\n')).toBe('err\nerr\n');
    });

    test('stdin that stays open outlives its clients', async () => {
      const { id } = await run('while read line; do echo "got $line"; done; echo over');
      {
        await using first = host.tasks.attach(id, ALL);
        first.stdin?.end('one\n');
        await until(first.stdout, 'got one\n');
      }
      await using second = host.tasks.attach(id, ALL);
      second.stdin?.write('two\n');
      expect(await until(second.stdout, 'got two\n')).toBe('got two\n');
    });

    test('stdin for once ends with the first client that ends it, and the container’s end ends the attachment', async () => {
      const { id } = await run('while read line; do echo "got $line"; done; echo over', { stdinOnce: true });
      await using attached = host.tasks.attach(id, ALL);
      attached.stdin?.end('one\n');
      expect(await text(attached.stdout)).toBe('got one\nover\n');
      await attached.ended;
      expect(await host.tasks.wait(id)).toMatchObject({ exitCode: 0 });
    });

    test('a terminal takes a size', async () => {
      const { id } = await run('read line; stty size', { terminal: true });
      await using attached = host.tasks.attach(id, TERMINAL);
      await Promise.all([50, 60, 70].map((columns) => attached.resize({ rows: 20, columns })));
      attached.stdin?.write('go\n');
      expect(await text(attached.stdout)).toContain('20 70\r\n');
    });

    test('a client that does not read is cut off when it is too far behind; container and log go on', async () => {
      const lines = 1_500_000;
      const spec = await run(`read line; seq ${lines}; sleep 1000`, { stdinOnce: false });
      await using slow = host.tasks.attach(spec.id, ALL);
      slow.stdin?.write('go\n');
      await slow.ended;
      await expect(text(slow.stdout)).rejects.toMatchObject({ kind: 'ResourceExhausted' });
      const logEnd = async () => (await readFile(spec.logPath ?? '', 'utf8')).endsWith(`F ${lines}\n`);
      for (let tries = 0; tries < 200 && !(await logEnd()); tries++) await sleep(50);
      expect(await logEnd()).toBe(true);
    });

    test('after a restart of the service a new client gets what comes then', async () => {
      const spec = await run('while read line; do echo "got $line"; done');
      const before = host.tasks.attach(spec.id, ALL);
      await host.restart();
      await before[Symbol.asyncDispose]();
      await host.tasks.recover(spec);
      await using after = host.tasks.attach(spec.id, ALL);
      after.stdin?.write('new\n');
      expect(await until(after.stdout, 'got new\n')).toBe('got new\n');
    });

    test('to a container that has ended it is FailedPrecondition', async () => {
      const { id } = await run('exit 0');
      await host.tasks.wait(id);
      expect(() => host.tasks.attach(id, ALL)).toThrow(expect.objectContaining({ kind: 'FailedPrecondition' }));
    });
  });
});
