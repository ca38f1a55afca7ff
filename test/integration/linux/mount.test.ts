import { chmodSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import {
  bindMount,
  isMountPoint,
  makePropagation,
  mount,
  mountInfo,
  mountOverlay,
  mountOverlaySync,
  SystemError,
  unmount,
  unmountSync,
} from '../../../src/linux/index.ts';
import { mountOverlayByPage } from '../../../src/linux/overlay-mount.ts';

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'cairn-mount-'));
  mount({ source: 'tmpfs', target: directory, type: 'tmpfs', data: 'mode=700' });
  makePropagation(directory, 'private');
});

afterEach(async () => {
  for (const entry of (await mountInfo()).reverse()) {
    if (entry.target.startsWith(directory)) unmountSync(entry.target, { detach: true });
  }
  rmSync(directory, { recursive: true });
});

function make(...names: string[]): string {
  const path = join(directory, ...names);
  mkdirSync(path, { recursive: true });
  return path;
}

function lowerLayers(count: number, base = 'snapshots'): string[] {
  return Array.from({ length: count }, (_, index) => {
    const layer = make(base, String(index + 1), 'fs');
    writeFileSync(join(layer, `from-${index}`), String(index));
    writeFileSync(join(layer, 'top'), String(index));
    return layer;
  });
}

describe('mount', () => {
  test('mounts and unmounts, and says when there is nothing to unmount', async () => {
    const target = make('with space');
    mount({ source: 'tmpfs', target, type: 'tmpfs', data: 'size=1m' });
    expect(await isMountPoint(target)).toBe(true);
    const entry = (await mountInfo()).find((candidate) => candidate.target === target);
    expect(entry).toMatchObject({ type: 'tmpfs', source: 'tmpfs', root: '/' });
    expect(entry?.superOptions).toContain('size=1024k');
    expect(await unmount(target)).toBe(true);
    expect(await unmount(target)).toBe(false);
    expect(await unmount(join(directory, 'missing'))).toBe(false);
    expect(unmountSync(target)).toBe(false);
    expect(await isMountPoint(target)).toBe(false);
  });

  test('a busy mount fails with EBUSY and goes away when it is detached', async () => {
    const target = make('busy');
    mount({ source: 'tmpfs', target, type: 'tmpfs' });
    const inner = make('busy', 'inner');
    mount({ source: 'tmpfs', target: inner, type: 'tmpfs' });
    await expect(unmount(target)).rejects.toMatchObject({ code: 'EBUSY', syscall: 'umount2', path: target });
    expect(await unmount(target, { detach: true })).toBe(true);
  });

  test('an unknown file system is a SystemError with code, call and path', () => {
    const target = make('t');
    let caught: unknown;
    try {
      mount({ source: 'x', target, type: 'nosuchfs' });
    } catch (error) {
      caught = error;
    }
    expect(caught).toBeInstanceOf(SystemError);
    expect(caught).toMatchObject({ code: 'ENODEV', errno: 19, syscall: 'mount', path: target });
    expect((caught as Error).message).toContain(target);
  });

  test('a path with a NUL inside is refused', () => {
    expect(() => mount({ source: 'x', target: `${directory}\0/x`, type: 'tmpfs' })).toThrow('NUL');
  });

  test('a bind mount shows the source, and read-only it refuses writes', () => {
    const source = make('source');
    writeFileSync(join(source, 'file'), 'text');
    const target = make('target');
    bindMount(source, target, { readonly: true });
    expect(readFileSync(join(target, 'file'), 'utf8')).toBe('text');
    expect(() => writeFileSync(join(target, 'file'), 'x')).toThrow('EROFS');
    writeFileSync(join(source, 'file'), 'still writable at its source');
  });

  test('a read-only bind mount keeps nosuid, nodev and noexec of its source', async () => {
    const source = make('strict');
    mount({ source: 'tmpfs', target: source, type: 'tmpfs', flags: 0x2 | 0x4 | 0x8 });
    const target = make('target');
    bindMount(source, target, { readonly: true });
    const options = (await mountInfo()).find((entry) => entry.target === target)?.options;
    expect(options).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev', 'noexec']));
  });

  test('propagation is what was asked for', async () => {
    const target = make('shared');
    mount({ source: 'tmpfs', target, type: 'tmpfs' });
    const propagation = async () => (await mountInfo()).find((entry) => entry.target === target)?.propagation;
    makePropagation(target, 'shared');
    expect(await propagation()).toEqual([expect.stringMatching(/^shared:\d+$/)]);
    makePropagation(target, 'private');
    expect(await propagation()).toEqual([]);
  });
});

describe('overlay mounts', () => {
  // Before 6.7 all options must fit one page: some 150 layers.
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const layersMax = major * 100 + minor >= 607 ? 500 : 128;
  test.each([1, 2, 128, layersMax])('%i lower layers and an upper one', async (count) => {
    const lower = lowerLayers(count);
    const target = make('target');
    await mountOverlay({ lower, upper: make('upper'), work: make('work'), target });
    expect(readFileSync(join(target, `from-${count - 1}`), 'utf8')).toBe(String(count - 1));
    expect(readFileSync(join(target, 'top'), 'utf8')).toBe('0');
    writeFileSync(join(target, 'new'), 'x');
    expect(readFileSync(join(directory, 'upper', 'new'), 'utf8')).toBe('x');
    expect(await unmount(target)).toBe(true);
  });

  test('an upper layer stays a plain diff: no redirects, no metadata-only copies', async () => {
    const lower = lowerLayers(1);
    make('snapshots', '1', 'fs', 'directory');
    const target = make('target');
    await mountOverlay({ lower, upper: make('upper'), work: make('work'), target });
    expect(() => renameSync(join(target, 'directory'), join(target, 'renamed'))).toThrow('EXDEV');
    chmodSync(join(target, 'top'), 0o600);
    expect(readFileSync(join(directory, 'upper', 'top'), 'utf8')).toBe('0');
  });

  test('paths longer than a value may be', async () => {
    const lower = lowerLayers(130, 'd'.repeat(250));
    const target = make('target');
    await mountOverlay({ lower, upper: make('u'.repeat(255), 'u'), work: make('u'.repeat(255), 'w'), target });
    expect(readFileSync(join(target, 'from-129'), 'utf8')).toBe('129');
  });

  test('paths with commas, colons and backslashes', async () => {
    const lower = [make('a,b:c\\d', '1'), make('a,b:c\\d', '2')];
    const upper = make('u,:\\', 'u');
    writeFileSync(join(lower[0] ?? '', 'file'), '1');
    const target = make('target');
    await mountOverlay({ lower, upper, work: make('u,:\\', 'w'), target });
    expect(readFileSync(join(target, 'file'), 'utf8')).toBe('1');
    writeFileSync(join(target, 'up'), 'x');
    expect(readFileSync(join(upper, 'up'), 'utf8')).toBe('x');
  });

  test('without an upper layer it is read-only', async () => {
    const target = make('target');
    await mountOverlay({ lower: lowerLayers(2), target });
    expect(() => writeFileSync(join(target, 'x'), '')).toThrow('EROFS');
  });

  test('a missing layer fails, names it and leaves nothing', async () => {
    const target = make('target');
    const layers = { lower: [make('1'), join(directory, 'gone')], upper: make('u'), work: make('w') };
    await expect(mountOverlay({ ...layers, target })).rejects.toMatchObject({
      code: 'ENOENT',
      message: expect.stringContaining('gone'),
    });
    expect(() => mountOverlaySync({ ...layers, target })).toThrow(/ENOENT.*gone/);
    // Found out only when the file system is made, off this thread.
    const same = { upper: make('same'), work: make('same') };
    await expect(mountOverlay({ lower: [make('1')], ...same, target })).rejects.toThrow(/EINVAL.*target/);
    expect(await isMountPoint(target)).toBe(false);
  });

  test('on an older kernel one page of options holds 128 layers, commas and colons, but not 500 layers', async () => {
    const lower = lowerLayers(128, 'a,b:c\\d');
    const target = make('target');
    mountOverlayByPage({ lower, upper: make('u,:\\', 'u'), work: make('u,:\\', 'w'), target });
    expect(readFileSync(join(target, 'from-127'), 'utf8')).toBe('127');
    writeFileSync(join(target, 'up'), 'x');
    expect(readFileSync(join(directory, 'u,:\\', 'u', 'up'), 'utf8')).toBe('x');
    expect(await unmount(target)).toBe(true);
    mountOverlayByPage({ lower: lowerLayers(3, 'a,b:c\\d'), target });
    expect(readFileSync(join(target, 'from-2'), 'utf8')).toBe('2');
    expect(() => writeFileSync(join(target, 'x'), '')).toThrow('EROFS');
    expect(await unmount(target)).toBe(true);
    const many = lowerLayers(500);
    expect(() => mountOverlayByPage({ lower: many, target })).toThrow('E2BIG');
    expect(await isMountPoint(target)).toBe(false);
  });
});
