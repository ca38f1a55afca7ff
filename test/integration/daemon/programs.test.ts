import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { cgroupPaths } from '../../../src/linux/index.ts';
import { TestDaemon } from '../../fixtures/daemon.ts';
import { hostImage } from '../../fixtures/host-image.ts';
import { startRegistry, type TestRegistry } from '../../fixtures/registry.ts';

const run = promisify(execFile);

interface Failure {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

let registry: TestRegistry;
let daemon: TestDaemon;
let image: string;

beforeAll(async () => {
  registry = await startRegistry();
  await registry.push('cairn/tools', hostImage(), '1');
  image = `${registry.host}/cairn/tools:1`;
  daemon = await TestDaemon.create();
});

afterAll(async () => {
  await daemon?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
});

const output = async (...args: readonly string[]) => (await daemon.cairn(...args)).stdout;
const json = async <T>(...args: readonly string[]) => JSON.parse(await output(...args, '--json')) as T;

async function failureOf(command: Promise<unknown>): Promise<Failure> {
  try {
    await command;
  } catch (error) {
    return error as Failure;
  }
  throw new Error('the command succeeded');
}

describe('cairnd, the program', () => {
  test.each([
    [['--nonsense'], '--nonsense'],
    [['--log-level', 'loud'], '--log-level: log_level: "loud" is none of trace, debug'],
    [['serve'], 'unknown command "serve"'],
    [['--config', '/nowhere/config.toml'], '/nowhere/config.toml'],
  ])('refuses %j with exit code 2 and says why', async (args, expected) => {
    const { code, stderr } = await failureOf(run('dist/cairnd', args));
    expect(stderr).toContain(expected);
    expect(code).toBe(2);
  });

  test('a second daemon on the same directories is refused', async () => {
    const { code, stderr } = await failureOf(daemon.command());
    expect(stderr).toContain('another cairnd uses this directory');
    expect(code).toBe(1);
  });

  test('prints a default configuration that it accepts', async () => {
    expect((await daemon.command('config', 'default')).stdout).toContain('[network]');
    expect((await daemon.command('config', 'check')).stdout).toBe('the configuration is good\n');
  });

  test('serves its metrics', async () => {
    const { daemon: info } = await json<{ daemon: { metricsAddress: string } }>('info');
    const response = await fetch(`http://${info.metricsAddress}/metrics`);
    const text = await response.text();
    for (const name of ['cairn_grpc_request_seconds_bucket', 'cairn_sandboxes', 'cairn_nodejs_eventloop_lag_seconds']) {
      expect(text).toContain(name);
    }
  });
});

describe('cairn, the command line', () => {
  test('pulls an image, lists it and removes it', async () => {
    const id = (await output('pull', '--quiet', image)).trim();
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    const listed = await json<{ id: string; repoTags: string[] }[]>('images');
    expect(listed).toMatchObject([{ id, repoTags: [image] }]);
    await output('rmi', image);
    expect(await json('images')).toEqual([]);
    const { code, stderr } = await failureOf(daemon.cairn('rmi', image));
    expect({ code, stderr }).toEqual({ code: 1, stderr: `cairn: no such image: ${image}\n` });
  });

  test('an image that does not exist is told with the registry that was asked', async () => {
    const missing = `${registry.host}/cairn/none:1`;
    const { code, stderr } = await failureOf(daemon.cairn('pull', missing));
    expect(stderr).toContain(missing);
    expect(stderr).toContain(registry.host);
    expect(code).toBe(1);
  });

  test('run hands on output, errors and exit code, and --rm leaves nothing', async () => {
    const script = 'echo "out $GREETING"; echo err >&2; exit 3';
    const failure = await failureOf(daemon.cairn('run', '--rm', '-e', 'GREETING=hi', image, 'sh', '-c', script));
    expect(failure).toMatchObject({ code: 3, stdout: 'out hi\n' });
    expect(failure.stderr).toContain('err\n');
    expect(await json('ps', '--all')).toEqual([]);
    expect(await json('pods')).toEqual([]);
    expect(await readdir(join(daemon.root, 'logs'))).toEqual([]);
  });

  test('a detached container is listed, followed, stopped and removed by its name', async () => {
    await output(
      'run',
      '--detach',
      '--name',
      'loop',
      image,
      'sh',
      '-c',
      'echo one; trap "exit 5" TERM; while :; do sleep 0.1; done',
    );
    expect(await json('ps')).toMatchObject([{ name: 'loop', state: 'running' }]);
    const following = output('logs', '--follow', 'loop');
    await output('stop', '--time', '5', 'loop');
    expect(await following).toBe('one\n');
    expect(await json('ps', '--all')).toMatchObject([{ name: 'loop', state: 'exited' }]);
    await output('rm', 'loop');
    expect(await json('pods')).toEqual([]);
  });

  test('a running container is removed only by force', async () => {
    await output('run', '--detach', '--name', 'kept', image, 'sleep', '1000');
    expect((await failureOf(daemon.cairn('rm', 'kept'))).stderr).toContain('is running');
    await output('rm', '--force', 'kept');
    expect(await json('ps', '--all')).toEqual([]);
  });

  test('wrong usage ends with exit code 2, a daemon that is not there with 1', async () => {
    expect(await failureOf(daemon.cairn('nonsense'))).toMatchObject({ code: 2 });
    const failure = await failureOf(run('dist/cairn', ['--listen', 'unix:///nowhere/x.sock', 'ps']));
    expect(failure).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('is cairnd running at /nowhere/x.sock?'),
    });
  });
});

describe('two daemons side by side', () => {
  test('have pods, images and networks of their own, and teardown takes away only what is its own', async () => {
    const other = await TestDaemon.create();
    const bridges = async () => (await run('ip', ['-o', 'link', 'show', 'type', 'bridge'])).stdout;
    try {
      for (const each of [daemon, other]) {
        await each.cairn('run', '--detach', '--name', 'same', image, 'sleep', '1000');
      }
      const pods = JSON.parse((await other.cairn('pods', '--json')).stdout) as { id: string }[];
      expect(pods).toHaveLength(1);
      expect(pods).not.toEqual(await json('pods'));
      expect(await bridges()).toContain(other.bridge);
    } finally {
      await other[Symbol.asyncDispose]();
    }
    expect(await bridges()).not.toContain(other.bridge);
    expect(Object.values(await cgroupPaths(other.cgroupParent)).filter(existsSync)).toEqual([]);
    expect(await json('ps')).toMatchObject([{ name: 'same', state: 'running' }]);
    await output('rm', '--force', 'same');
  });
});

describe('leaving', () => {
  test('SIGTERM leaves containers running and the next start finds them', async () => {
    await output('run', '--detach', '--name', 'stays', image, 'sleep', '1000');
    await daemon.stop('SIGTERM');
    await daemon.start();
    expect(await json('ps')).toMatchObject([{ name: 'stays', state: 'running' }]);
    await output('rm', '--force', 'stays');
  });
});
