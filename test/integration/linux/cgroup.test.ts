import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  type ChildProcess,
  cgroupLayout,
  cgroupMode,
  cgroupPaths,
  createCgroup,
  killAll,
  moveProcess,
  parseProcessCgroups,
  processesOf,
  removeCgroup,
  signalCgroup,
  spawnProcess,
} from '../../../src/linux/index.ts';

let counter = 0;
let path: string;
let children: ChildProcess[];

beforeEach(() => {
  path = `/cairn-test-${process.pid}-${counter++}`;
  children = [];
});

afterEach(async () => {
  await killAll(path);
  for (const child of children) child.kill(9);
  await Promise.all(children.map((child) => child.exited));
  await removeCgroup(path);
  for (const directory of Object.values(await cgroupPaths(path))) expect(existsSync(directory)).toBe(false);
});

function child(script: string): ChildProcess {
  const made = spawnProcess({ file: '/bin/sh', args: ['-c', script], env: { PATH: '/usr/bin:/bin' } });
  children.push(made);
  return made;
}

describe('cgroups', () => {
  test('the layout is what the host has mounted', async () => {
    const { mode, hierarchies } = await cgroupLayout();
    expect(await cgroupMode()).toBe(mode);
    for (const root of hierarchies.values()) expect(existsSync(join(root, 'cgroup.procs'))).toBe(true);
    const own = parseProcessCgroups(readFileSync('/proc/self/cgroup', 'utf8'));
    for (const key of hierarchies.keys()) expect(own.has(key)).toBe(true);
    expect(mode === 'v2').toBe(existsSync('/sys/fs/cgroup/cgroup.controllers'));
  });

  test('are made in every hierarchy, twice without harm, and take processes', async () => {
    const inner = `${path}/pod/container`;
    await createCgroup(inner);
    await createCgroup(inner);
    const sleeper = child('exec sleep 30');
    await moveProcess(sleeper.pid, inner);
    const cgroups = parseProcessCgroups(readFileSync(`/proc/${sleeper.pid}/cgroup`, 'utf8'));
    for (const key of (await cgroupLayout()).hierarchies.keys()) expect([key, cgroups.get(key)]).toEqual([key, inner]);
    expect(await processesOf(path)).toEqual([sleeper.pid]);
    expect(await processesOf(inner)).toEqual([sleeper.pid]);
  });

  test('a signal reaches every process below', async () => {
    await createCgroup(`${path}/a/b`);
    const [first, second] = [child('exec sleep 30'), child('exec sleep 30')];
    await moveProcess(first.pid, `${path}/a`).catch(() => moveProcess(first.pid, `${path}/a/b`));
    await moveProcess(second.pid, `${path}/a/b`);
    expect(await signalCgroup(path, 15)).toBe(2);
    expect((await first.exited).signal).toBe(15);
    expect((await second.exited).signal).toBe(15);
    expect(await signalCgroup(path, 15)).toBe(0);
  });

  test('killAll ends a program that forks as fast as it can, in sessions of their own', async () => {
    await createCgroup(path);
    const start = `${path}-go`.replaceAll('/', '_');
    const forker = child(`
      while [ ! -e /tmp/${start} ]; do sleep 0.01; done
      spin() { while :; do setsid sleep 30 & sleep 0.002; done; }
      spin & spin & wait`);
    await moveProcess(forker.pid, path);
    writeFileSync(`/tmp/${start}`, '');
    await new Promise((resolve) => setTimeout(resolve, 150));
    expect((await processesOf(path)).length).toBeGreaterThan(5);
    expect(await killAll(path)).toEqual([]);
    expect(await processesOf(path)).toEqual([]);
    await forker.exited;
    (await import('node:fs')).rmSync(`/tmp/${start}`);
  });

  test('killAll ends frozen processes', async () => {
    await createCgroup(path);
    const sleeper = child('sleep 30');
    await moveProcess(sleeper.pid, path);
    const paths = await cgroupPaths(path);
    if (paths['freezer'] !== undefined) writeFileSync(join(paths['freezer'], 'freezer.state'), 'FROZEN');
    else writeFileSync(join(paths['unified'] ?? '', 'cgroup.freeze'), '1');
    expect(await killAll(path)).toEqual([]);
    expect((await sleeper.exited).signal).toBe(9);
  });

  test('removing says which processes hold a cgroup, and succeeds when there is nothing', async () => {
    await removeCgroup(`${path}/none`);
    await createCgroup(`${path}/a/b`);
    await createCgroup(`${path}/a/c`);
    await removeCgroup(`${path}/a`);
    const [directory] = Object.values(await cgroupPaths(path));
    expect(readdirSync(directory ?? '', { withFileTypes: true }).filter((entry) => entry.isDirectory())).toEqual([]);
  });

  test('a cgroup whose process ends meanwhile is removed in the end', async () => {
    await createCgroup(path);
    const sleeper = child('exec sleep 0.2');
    await moveProcess(sleeper.pid, path);
    await removeCgroup(path);
  });

  test.each(['', '/', '/a/../../b', 'a/./b'])('the path %j is refused', async (unsafe) => {
    await expect(createCgroup(unsafe)).rejects.toMatchObject({ kind: 'InvalidArgument' });
    await expect(removeCgroup(unsafe)).rejects.toMatchObject({ kind: 'InvalidArgument' });
  });

  test('moving a process that has ended is ESRCH', async () => {
    await createCgroup(path);
    await expect(moveProcess(4_194_303, path)).rejects.toMatchObject({ code: 'ESRCH' });
  });
});
