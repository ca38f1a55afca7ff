import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { parseNetworkFile, scanDirectory } from '../../../src/network/conflist.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

const bridge = { type: 'bridge', bridge: 'b0' };
const list = (more: object) => JSON.stringify({ name: 'net', cniVersion: '1.0.0', plugins: [bridge], ...more });

describe('a configuration list', () => {
  test('keeps its plugins in order, and their capabilities apart from their settings', () => {
    const plugins = [bridge, { type: 'portmap', snat: true, capabilities: { portMappings: true, other: false } }];
    expect(parseNetworkFile(list({ plugins, disableCheck: true, disableGC: true }), '/c/10-a.conflist')).toEqual({
      name: 'net',
      cniVersion: '1.0.0',
      disableCheck: true,
      disableGc: true,
      source: '/c/10-a.conflist',
      plugins: [
        { type: 'bridge', capabilities: [], settings: bridge },
        { type: 'portmap', capabilities: ['portMappings'], settings: { type: 'portmap', snat: true } },
      ],
    });
  });

  test.each([['0.3.1'], ['0.4.0'], ['1.0.0'], ['1.1.0']])('may be of version %s', (cniVersion) => {
    expect(parseNetworkFile(list({ cniVersion }), 'a.conflist').cniVersion).toBe(cniVersion);
  });

  test('that works with several versions uses the newest one that Cairn speaks', () => {
    const text = list({ cniVersion: '0.4.0', cniVersions: ['0.3.1', '1.0.0', '9.0.0'] });
    expect(parseNetworkFile(text, 'a.conflist').cniVersion).toBe('1.0.0');
  });

  test.each([
    ['is not JSON', '{', /is not JSON/],
    ['is no object', '[]', /is not a JSON object/],
    ['has no name', list({ name: undefined }), /name: nothing/],
    ['has a name that could leave a directory', list({ name: '../x' }), /name: "\.\.\/x" is not a network name/],
    ['has no version', list({ cniVersion: undefined }), /cniVersion: nothing is none of 0\.3\.1, /],
    ['has a version before 0.3.1', list({ cniVersion: '0.2.0' }), /cniVersion: "0\.2\.0"/],
    ['has no plugins', list({ plugins: undefined }), /plugins/],
    ['has an empty list of plugins', list({ plugins: [] }), /plugins/],
    ['has a plugin that is no object', list({ plugins: ['bridge'] }), /plugins\[0\]/],
    ['has a plugin without type', list({ plugins: [bridge, {}] }), /plugins\[1\]\.type/],
    ['has a type that is a path', list({ plugins: [{ type: '../../bin/sh' }] }), /plugins\[0\]\.type/],
    ['has a type that is a parent directory', list({ plugins: [{ type: '..' }] }), /plugins\[0\]\.type/],
    ['has a flag that is none', list({ disableCheck: 3 }), /disableCheck: 3/],
    ['has capabilities that are a list', list({ plugins: [{ type: 'x', capabilities: [] }] }), /capabilities/],
  ])('that %s is refused with the reason', (_, text, reason) => {
    expect(() => parseNetworkFile(text, 'a.conflist')).toThrow(reason);
  });
});

describe('the configuration of a single plugin', () => {
  test.each([['a.conf'], ['a.json']])('in %s is a list of one', (file) => {
    const text = JSON.stringify({ ...bridge, name: 'one', cniVersion: '0.4.0', capabilities: { ips: true } });
    expect(parseNetworkFile(text, file)).toMatchObject({
      name: 'one',
      cniVersion: '0.4.0',
      plugins: [{ type: 'bridge', capabilities: ['ips'], settings: bridge }],
    });
  });

  test('that is a list after all is refused with what to do', () => {
    expect(() => parseNetworkFile(list({}), 'a.conf')).toThrow(/name the file \.conflist/);
  });
});

describe('a configuration directory', () => {
  test('that does not exist offers nothing', async () => {
    expect(await scanDirectory('/nonexistent/net.d')).toEqual({ list: undefined, skipped: [] });
  });

  test('offers the first valid file in order of name; those before it are told with the reason', async () => {
    await using directory = await temporaryDirectory('conflist');
    const at = (name: string) => join(directory.path, name);
    await writeFile(at('30-late.conflist'), list({ name: 'late' }));
    await writeFile(at('20-good.conf'), JSON.stringify({ ...bridge, name: 'good', cniVersion: '1.0.0' }));
    await writeFile(at('10-bad.conflist'), '{"name":');
    await writeFile(at('05-notes.txt'), 'not a network');
    await mkdir(at('00-directory.conf'));
    await writeFile(at('15-huge.json'), ' '.repeat(1024 * 1024 + 1));
    const scan = await scanDirectory(directory.path);
    expect(scan.list).toMatchObject({ name: 'good', source: at('20-good.conf') });
    expect(scan.skipped.map(({ file }) => file)).toEqual([
      at('00-directory.conf'),
      at('10-bad.conflist'),
      at('15-huge.json'),
    ]);
    expect(scan.skipped[1]?.reason).toMatch(/is not JSON/);
    expect(scan.skipped[2]?.reason).toMatch(/larger than 1048576 bytes/);
  });
});
