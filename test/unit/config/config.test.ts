import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { type Config, loadConfig, renderDefaultFile, socketPath } from '../../../src/config/index.ts';

let directory: string;
let file: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cairn-config-'));
  file = join(directory, 'config.toml');
});

afterEach(() => rm(directory, { recursive: true, force: true }));

interface Layers {
  readonly toml?: string;
  readonly environment?: Record<string, string>;
  readonly flags?: Record<string, string>;
}

async function load(layers: Layers): Promise<Config> {
  await writeFile(file, layers.toml ?? '');
  const flags = Object.entries(layers.flags ?? {}).map(
    ([key, text]) => [key, { text, place: `--${key.replaceAll('_', '-')}` }] as const,
  );
  return loadConfig({ file, environment: layers.environment ?? {}, flags: new Map(flags) });
}

async function problemOf(layers: Layers): Promise<string> {
  return load(layers).then(
    () => 'accepted',
    (error: Error) => error.message.replaceAll(directory, ''),
  );
}

describe('configuration', () => {
  test('the default file parses back into the defaults', async () => {
    expect(await load({ toml: renderDefaultFile() })).toEqual(await load({}));
  });

  test('a flag beats a variable, a variable beats a drop-in, a drop-in beats the file', async () => {
    await mkdir(`${file}.d`);
    await writeFile(join(`${file}.d`, '10-a.toml'), 'root = "/dropin"\nstate = "/dropin"\nlisten = "unix:///dropin"');
    const config = await load({
      toml: 'root = "/file"\nstate = "/file"\nlisten = "unix:///file"\nlog_level = "debug"',
      environment: { CAIRN_ROOT: '/variable', CAIRN_STATE: '/variable' },
      flags: { root: '/flag' },
    });
    expect([config.root, config.state, config.listen, config.logLevel]).toEqual([
      '/flag',
      '/variable',
      'unix:///dropin',
      'debug',
    ]);
  });

  test('a nested key is set by its variable', async () => {
    const config = await load({ environment: { CAIRN_NETWORK_BIN_DIRS: '/a:/b', CAIRN_NETWORK_EMBEDDED: 'true' } });
    expect(config.network.binDirs).toEqual(['/a', '/b']);
    expect(config.network.embedded).toBe(true);
  });

  test('runc exists without being named, and a runtime that is named joins it', async () => {
    const config = await load({ toml: '[runtimes.crun]\npath = "/usr/bin/crun"' });
    expect(config.runtimes).toEqual({
      runc: { path: 'runc', root: '' },
      crun: { path: '/usr/bin/crun', root: '' },
    });
  });

  test('the socket lies under state unless listen says otherwise', async () => {
    expect(socketPath(await load({ toml: 'state = "/run/x"' }))).toBe('/run/x/cairn.sock');
    expect(socketPath(await load({ toml: 'listen = "unix:///run/y.sock"' }))).toBe('/run/y.sock');
  });

  test('the object is frozen, also inside', async () => {
    const config = await load({});
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.network.binDirs)).toBe(true);
  });

  test.each([
    ['an unknown key', 'root = "/r"\nrooot = "/r"', '/config.toml:2: unknown key "rooot"; allowed here: root, state,'],
    ['an unknown key of a section', '[network]\n\nconf_dirs = "/x"', '/config.toml:3: unknown key "network.conf_dirs"'],
    ['an unknown section', '[netwrok]\nconf_dir = "/x"', '/config.toml:1: unknown key "netwrok"'],
    ['a wrong type', 'root = 3', '/config.toml:1: root: 3 is not text in quotes'],
    ['a relative path', '\n\nroot = "x"', '/config.toml:3: root: "x" is not an absolute path'],
    ['a wrong choice', 'log_level = "loud"', 'log_level: "loud" is none of trace, debug'],
    [
      'a number out of bounds',
      '[images]\ndownloads_max = 0',
      'images.downloads_max: 0 is not a whole number from 1 to 64',
    ],
    ['a value where a section belongs', 'network = "x"', '/config.toml:1: network is a section, write [network]'],
    ['an odd runtime name', '[runtimes."a b"]\npath = "x"', '"a b" is no name for a section of runtimes'],
    ['broken TOML', 'root = "/r"\nstate = ', '/config.toml:2: '],
  ])('%s is an error that tells where and what is allowed', async (_name, toml, expected) => {
    expect(await problemOf({ toml })).toContain(expected);
  });

  test('an error in a flag or a variable names it', async () => {
    expect(await problemOf({ flags: { metrics_address: '127.0.0.1:65536' } })).toContain('is not HOST:PORT');
    expect(await problemOf({ flags: { metrics_address: 'nowhere' } })).toContain(
      '--metrics-address: metrics_address: "nowhere" is not HOST:PORT',
    );
    expect(await problemOf({ environment: { CAIRN_NETWORK_EMBEDDED: 'yes' } })).toContain(
      'CAIRN_NETWORK_EMBEDDED: network.embedded: "yes" is neither true nor false',
    );
  });

  test('all problems are told at once', async () => {
    expect((await problemOf({ toml: 'a = 1\nb = 2' })).split('\n')).toHaveLength(2);
  });

  test('a file that was named must exist', async () => {
    await expect(loadConfig({ file: join(directory, 'none.toml'), environment: {}, flags: new Map() })).rejects.toThrow(
      'none.toml',
    );
  });
});
