import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { createNamespaces, isMountPoint, lockFile, removeNamespace, runProcess } from '../../../src/linux/index.ts';

let directory: string;
const pin = (name: string) => join(directory, name);
const all = () => ({ network: pin('net'), ipc: pin('ipc'), uts: pin('uts') });
const ours = (of = '/proc/self/ns') => ['net', 'ipc', 'uts'].map((kind) => readlinkSync(join(of, kind)));

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cairn-ns-'));
});

afterEach(async () => {
  for (const name of readdirSync(directory)) await removeNamespace(pin(name));
  rmdirSync(directory);
});

async function inside(script: string): Promise<string> {
  const result = await runProcess({
    file: '/usr/bin/nsenter',
    args: [`--net=${pin('net')}`, `--ipc=${pin('ipc')}`, `--uts=${pin('uts')}`, 'sh', '-c', script],
    env: { PATH: '/usr/bin:/bin:/usr/sbin:/sbin' },
    timeoutMs: 5000,
    outputBytesMax: 65536,
  });
  expect(result.stderr.toString()).toBe('');
  return result.stdout.toString().trim();
}

describe('namespaces', () => {
  test('are made and pinned, with hostname, sysctls and lo up, while we stay where we are', async () => {
    const before = [...ours(), hostname()];
    await createNamespaces({
      ...all(),
      hostname: 'cairn-pod',
      sysctls: { 'net.ipv4.ip_unprivileged_port_start': '80', 'net/core/somaxconn': '77', 'kernel.shmmni': '99' },
    });
    expect([...ours(), hostname()]).toEqual(before);
    // The worker too: what it stayed in would live as long as the thread.
    for (const thread of readdirSync('/proc/self/task')) {
      expect(ours(`/proc/self/task/${thread}/ns`)).toEqual(before.slice(0, 3));
    }
    const script =
      'hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmni';
    expect((await inside(script)).split('\n')).toEqual(['cairn-pod', '80', '77', '99']);
    expect(await inside('cat /proc/net/fib_trie')).toContain('127.0.0.1');
    for (const path of Object.values(all())) {
      expect(await isMountPoint(path)).toBe(true);
      await removeNamespace(path);
      await removeNamespace(path);
      expect(existsSync(path)).toBe(false);
    }
  });

  test('only the kinds that were asked for', async () => {
    await createNamespaces({ uts: pin('uts') });
    expect(readdirSync(directory)).toEqual(['uts']);
    await createNamespaces({});
  });

  test('many at once each get their own', async () => {
    const hostSetting = readFileSync('/proc/sys/net/core/somaxconn', 'utf8');
    const names = Array.from({ length: 20 }, (_, index) => pin(`net${index}`));
    await Promise.all(
      names.map((network, index) => createNamespaces({ network, sysctls: { 'net.core.somaxconn': `${100 + index}` } })),
    );
    const inodes = new Set(await Promise.all(names.map(async (name) => (await stat(name)).ino)));
    expect(inodes.size).toBe(20);
    expect(readFileSync('/proc/sys/net/core/somaxconn', 'utf8')).toBe(hostSetting);
  });

  test.each([
    ['a sysctl that does not exist', { 'net.ipv4.no_such': '1' }, /net\.ipv4\.no_such=1.*ENOENT/],
    ['a value that the kernel refuses', { 'net.ipv4.ip_forward': 'x' }, /ip_forward=x.*EINVAL/],
    ['a sysctl of the machine', { 'kernel.pid_max': '1' }, /kernel\.pid_max.*whole machine/],
    ['a sysctl that climbs', { 'net/../kernel/pid_max': '1' }, /not a parameter/],
  ])('%s is refused and leaves nothing', async (_, sysctls, message) => {
    const call = createNamespaces({ ...all(), sysctls });
    await expect(call).rejects.toMatchObject({ kind: 'InvalidArgument', message: expect.stringMatching(message) });
    expect(readdirSync(directory)).toEqual([]);
  });

  test("a sysctl or hostname that would be the host's is refused", async () => {
    const message = expect.stringMatching(/host/);
    await expect(createNamespaces({ uts: pin('uts'), sysctls: { 'net.core.somaxconn': '1' } })).rejects.toMatchObject({
      kind: 'InvalidArgument',
      message,
    });
    await expect(createNamespaces({ ipc: pin('ipc'), hostname: 'x' })).rejects.toMatchObject({ message });
    expect(readdirSync(directory)).toEqual([]);
  });

  test('when the last pin fails the others are undone, and the worker is back home for the next job', async () => {
    const call = createNamespaces({ ...all(), network: join(directory, 'missing', 'net') });
    await expect(call).rejects.toMatchObject({ code: 'ENOENT', path: join(directory, 'missing', 'net') });
    expect(readdirSync(directory)).toEqual([]);
    await createNamespaces({ uts: pin('uts'), hostname: 'next' });
    await expect(createNamespaces({ uts: pin('uts') })).rejects.toMatchObject({ code: 'EEXIST' });
    expect(await isMountPoint(pin('uts'))).toBe(true);
  });
});

describe('a file lock', () => {
  test('has one holder, and is free again when that one ends', async () => {
    const path = pin('lock');
    const held = lockFile(path);
    expect(() => lockFile(path)).toThrow(expect.objectContaining({ kind: 'FailedPrecondition' }));
    held[Symbol.dispose]();
    lockFile(path)[Symbol.dispose]();
  });

  test('survives no process', async () => {
    const path = pin('lock');
    const run = (script: string) =>
      runProcess({
        file: '/bin/sh',
        args: ['-c', script],
        env: { PATH: '/usr/bin:/bin' },
        timeoutMs: 5000,
        outputBytesMax: 1000,
      });
    const other = run(`exec 9>${path}; flock 9; echo held > ${path}.ready; sleep 0.2; kill -9 $$`);
    while (!existsSync(`${path}.ready`)) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(() => lockFile(path)).toThrow('locked');
    expect((await other).signal).toBe(9);
    lockFile(path)[Symbol.dispose]();
  });
});
