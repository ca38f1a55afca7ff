/** `cairn doctor` on the host that runs the tests, as it is and with broken settings. Needs root. */
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { type Check, type DoctorConfig, doctorCommand, runDoctor } from '../../../src/cli/doctor/index.ts';
import { loadConfig } from '../../../src/config/index.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

async function setUp() {
  const directory = await temporaryDirectory('doctor');
  const at = (name: string) => join(directory.path, name);
  await mkdir(at('conf'));
  const defaults = await loadConfig({ file: undefined, environment: {}, flags: new Map() });
  const config: DoctorConfig = {
    ...defaults,
    root: at('root'),
    state: at('state'),
    network: { ...defaults.network, confDir: at('conf'), binDirs: ['/usr/lib/cni'] },
  };
  return { at, config, directory, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

const find = (checks: readonly Check[], id: string) => checks.find((check) => check.id === id);

describe('doctor', () => {
  test('finds this host fit, tells the reason of every check, and leaves nothing behind', async () => {
    await using world = await setUp();
    const checks = await runDoctor(world.config);
    expect(checks.filter(({ status }) => status === 'failed')).toEqual([]);
    expect(new Set(checks.map(({ id }) => id)).size).toBe(checks.length);
    expect(checks.filter(({ why, summary }) => why === '' || summary === '')).toEqual([]);
    expect(checks.filter(({ status, fix }) => (status === 'ok') !== (fix === ''))).toEqual([]);
    for (const id of [
      'runtime.runc',
      'conmon',
      'network.plugins',
      'disk.overlay',
      'kernel.overlay',
      'privileges.user',
    ]) {
      expect(find(checks, id)).toMatchObject({ status: 'ok' });
    }
    expect(await readdir(world.directory.path)).toEqual(['conf']);
  });

  test('prints text without colours into a pipe, and exits with 0', async () => {
    await using world = await setUp();
    let text = '';
    const output = { write: (chunk: string) => (text += chunk) };
    expect(await doctorCommand({ config: world.config, json: false, output })).toBe(0);
    expect(text).toMatch(/^ok +runtime\.runc +\/.*runc: runc version 1\./m);
    expect(text).toMatch(/0 failed: this host can run Cairn\n$/);
    expect(text).not.toContain('\u001b');
  });

  test('exits with 1 and says what to do when programs and plugins are missing', async () => {
    await using world = await setUp();
    const config: DoctorConfig = {
      ...world.config,
      network: { ...world.config.network, binDirs: [world.at('no-plugins')], embedded: true },
      containers: { ...world.config.containers, conmon: world.at('no-conmon') },
      runtimes: { runc: { path: world.at('no-runc'), root: '' } },
    };
    let text = '';
    const output = { write: (chunk: string) => (text += chunk) };
    expect(await doctorCommand({ config, json: true, output })).toBe(1);
    const checks = JSON.parse(text) as Check[];
    expect(find(checks, 'runtime.runc')).toMatchObject({
      status: 'failed',
      fix: expect.stringContaining('[runtimes.runc] path'),
    });
    expect(find(checks, 'conmon')).toMatchObject({
      status: 'failed',
      fix: expect.stringContaining('apt-get install conmon'),
    });
    expect(find(checks, 'network.plugins')).toMatchObject({
      status: 'failed',
      summary: expect.stringContaining(world.at('no-plugins')),
      fix: expect.stringContaining('[network] bin_dirs'),
    });
  });

  test('tells a runtime that lies, one that is too old, and one that can say nothing about itself', async () => {
    await using world = await setUp();
    const judge = async (script: string) => {
      await writeFile(world.at('runc'), `#!/bin/sh\n${script}\n`);
      await chmod(world.at('runc'), 0o755);
      return runDoctor({ ...world.config, runtimes: { runc: { path: world.at('runc'), root: '' } } });
    };
    expect(find(await judge('echo no such library >&2; exit 127'), 'runtime.runc')).toMatchObject({
      status: 'failed',
      summary: expect.stringContaining('no such library'),
    });
    expect(find(await judge('echo runc version 1.0.3'), 'runtime.runc')?.status).toBe('failed');
    const odd = await judge('echo runc version 1.2.0');
    expect(find(odd, 'runtime.runc')?.status).toBe('ok');
    expect(find(odd, 'runtime.runc.features')?.status).toBe('warning');
  });

  test('names a broken network file, a plugin of the wrong version, and a subnet that is taken', async () => {
    await using world = await setUp();
    const list = { cniVersion: '1.1.0', name: 'n', plugins: [{ type: 'bridge', ipam: { type: 'host-local' } }] };
    await writeFile(world.at('conf/10-broken.conflist'), '{');
    const broken = await runDoctor(world.config);
    expect(find(broken, 'network.configuration')).toMatchObject({
      status: 'failed',
      summary: expect.stringContaining('10-broken.conflist: is not JSON'),
    });
    await mkdir(world.at('bin'));
    await writeFile(world.at('bin/old'), `#!/bin/sh\necho '{"supportedVersions":["0.4.0"]}'\n`);
    await chmod(world.at('bin/old'), 0o755);
    await writeFile(world.at('conf/20-new.conflist'), JSON.stringify({ ...list, plugins: [{ type: 'old' }] }));
    const mixed = await runDoctor({
      ...world.config,
      network: { ...world.config.network, binDirs: [world.at('bin')] },
    });
    expect(find(mixed, 'network.configuration')?.status).toBe('warning');
    expect(find(mixed, 'network.plugins')?.summary).toContain('speaks 0.4.0, not 1.1.0');

    // Loopback is a route of every host, if not in the main table: take one that is there.
    const confDir = world.at('nothing');
    const network = { ...world.config.network, confDir, embedded: true, bridge: 'lo' };
    const taken = await runDoctor({ ...world.config, network });
    expect(find(taken, 'network.subnet')).toMatchObject({
      status: 'failed',
      summary: expect.stringContaining('lo is no bridge'),
    });
  });

  test('tells a file system that cannot hold the root or the state', async () => {
    await using world = await setUp();
    const checks = await runDoctor({ ...world.config, root: '/proc/cairn', state: '/sys/cairn' });
    expect(find(checks, 'disk.overlay')?.status).toBe('failed');
    expect(find(checks, 'disk.state')?.status).toBe('failed');
    const volatile = await runDoctor({
      ...world.config,
      root: '/dev/shm/no-such-cairn',
      state: '/dev/shm/no-such-cairn',
    });
    expect(find(volatile, 'disk.root')?.status).toBe('warning');
    expect(find(volatile, 'disk.state')?.status).toBe('ok');
  });
});
