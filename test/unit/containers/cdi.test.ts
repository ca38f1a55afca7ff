import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { silentLogger } from '../../../src/base/log.ts';
import { applyCdiEdits } from '../../../src/containers/cdi/apply.ts';
import { type CdiRegistry, createCdiRegistry } from '../../../src/containers/cdi/registry.ts';
import { parseCdiSpec } from '../../../src/containers/cdi/spec-file.ts';
import type { RuntimeSpec } from '../../../src/containers/spec/oci.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

const spec = (containerEdits: object, more: object = {}) =>
  JSON.stringify({
    cdiVersion: '0.6.0',
    kind: 'vendor.com/gpu',
    devices: [{ name: '0', containerEdits }],
    ...more,
  });

describe('a CDI spec file', () => {
  test('is read as JSON and as YAML, numbers with a leading zero as the octal ones that vendors mean', () => {
    const yaml = `
cdiVersion: "1.0.0"
kind: vendor.com/gpu
containerEdits: { env: ["ALL=1"] }
devices:
  - name: "0"
    containerEdits:
      deviceNodes: [{ path: /dev/gpu0, hostPath: /dev/null, fileMode: 0660, permissions: rw, uid: 0 }]
      mounts: [{ hostPath: /lib/gpu, containerPath: /usr/lib/gpu, options: [ro, nosuid] }]
      hooks: [{ hookName: createContainer, path: /bin/ldconfig, args: [ldconfig, -r] }]
      additionalGids: [44, 0]
`;
    const parsed = parseCdiSpec(yaml, 'yaml');
    expect(parsed).toMatchObject({ kind: 'vendor.com/gpu', edits: { env: ['ALL=1'] } });
    expect(parsed.devices.get('0')).toMatchObject({
      deviceNodes: [{ path: '/dev/gpu0', hostPath: '/dev/null', fileMode: 0o660, permissions: 'rw', uid: 0 }],
      mounts: [{ type: 'bind', options: ['rbind', 'ro', 'nosuid'] }],
      hooks: [{ hookName: 'createContainer', args: ['ldconfig', '-r'] }],
      additionalGids: [44],
    });
    expect(parseCdiSpec(spec({ env: ['A=b'] }), 'json').devices.get('0')?.env).toEqual(['A=b']);
  });

  test.each([
    ['{', 'is not JSON'],
    ['[]', 'the file is not an object'],
    [spec({}, { cdiVersion: '2.0.0' }), 'cdiVersion "2.0.0" is not one'],
    [spec({}, { kind: 'vendor' }), 'kind "vendor"'],
    [spec({}, { kind: 'vendor/../x' }), 'kind "vendor/../x"'],
    [spec({}, { extra: 1 }), 'unknown field "extra"'],
    [spec({ env: ['A'] }), 'devices[0].containerEdits.env[0]: "A" is not NAME=VALUE'],
    [spec({ env: 'A=b' }), 'containerEdits.env is not a list'],
    [spec({ deviceNodes: [{ path: 'dev/x' }] }), 'deviceNodes[0].path: "dev/x" is not an absolute path'],
    [spec({ deviceNodes: [{ path: '/dev/x', type: 'z' }] }), 'type: "z"'],
    [spec({ deviceNodes: [{ path: '/dev/x', permissions: 'rx' }] }), 'permissions: "rx"'],
    [spec({ deviceNodes: [{ path: '/dev/x', major: 1.5 }] }), 'major: 1.5'],
    [spec({ hooks: [{ hookName: 'later', path: '/x' }] }), 'hookName: "later" is none of'],
    [spec({ mounts: [{ containerPath: '/x' }] }), 'mounts[0].hostPath'],
    [spec({ gpus: 1 }), 'unknown field "gpus"'],
    [spec({}, { devices: [{ name: '-0' }] }), 'devices[0].name'],
    [spec({}, { devices: [{ name: '0' }, { name: '0' }] }), 'two devices "0"'],
  ])('that is wrong is refused: %s', (text, words) => {
    expect(() => parseCdiSpec(text, 'json')).toThrow(words);
  });
});

describe('the devices of a host', () => {
  let directory: string;
  let registry: CdiRegistry;
  beforeEach(async () => {
    directory = (await temporaryDirectory('cdi')).path;
    await mkdir(join(directory, 'a'));
    await mkdir(join(directory, 'b'));
    const directories = ['a', 'b', 'none'].map((name) => join(directory, name));
    registry = createCdiRegistry({ directories, log: silentLogger });
  });
  afterEach(() => rm(directory, { recursive: true }));
  const put = (file: string, text: string) => writeFile(join(directory, file), text);
  const variables = async (...names: string[]) => (await registry.resolve(names)).flatMap(({ env }) => env);

  test('come with the edits of their spec, once', async () => {
    const devices = ['0', '1'].map((name) => ({ name, containerEdits: { env: [`DEVICE${name}=yes`] } }));
    await put('a/gpu.json', spec({}, { devices, containerEdits: { env: ['GPU=yes'] } }));
    expect(await variables('vendor.com/gpu=1', 'vendor.com/gpu=0')).toEqual(['GPU=yes', 'DEVICE1=yes', 'DEVICE0=yes']);
    expect(await variables()).toEqual([]);
  });

  test('are those of the last directory, as its files are now', async () => {
    await put('a/gpu.json', spec({ env: ['FROM=a'] }));
    expect(await variables('vendor.com/gpu=0')).toEqual(['FROM=a']);
    await put('b/other.yaml', spec({ env: ['FROM=b'] }));
    expect(await variables('vendor.com/gpu=0')).toEqual(['FROM=b']);
    await put('b/other.yaml', spec({ env: ['FROM=b, later'] }));
    expect(await variables('vendor.com/gpu=0')).toEqual(['FROM=b, later']);
    await rm(join(directory, 'b/other.yaml'));
    expect(await variables('vendor.com/gpu=0')).toEqual(['FROM=a']);
  });

  test('that are unknown, ambiguous or misnamed are refused by name, with what could not be read', async () => {
    await put('a/broken.json', '{');
    const refused = (words: string) => ({ kind: 'InvalidArgument', message: expect.stringContaining(words) });
    await expect(variables('vendor.com/gpu=0')).rejects.toMatchObject(refused('CDI device vendor.com/gpu=0: no spec'));
    await expect(variables('vendor.com/gpu=0')).rejects.toMatchObject(refused('a/broken.json: is not JSON'));
    await expect(variables('gpu')).rejects.toMatchObject(refused('"gpu": the name is not of the form'));
    await put('a/one.json', spec({ env: ['A=1'] }));
    await put('a/two.json', spec({ env: ['A=2'] }));
    await expect(variables('vendor.com/gpu=0')).rejects.toMatchObject(refused('a/two.json define it'));
  });

  test.each(['intelRdt', 'netDevices'])('that want %s are refused', async (key) => {
    await put('a/gpu.json', spec({ [key]: {} }));
    await expect(variables('vendor.com/gpu=0')).rejects.toMatchObject({
      kind: 'FailedPrecondition',
      message: expect.stringContaining(`wants ${key}`),
    });
  });
});

describe('the edits of a device', () => {
  const plain = {
    process: { env: ['PATH=/bin', 'A=old'], user: { uid: 1000, gid: 100, additionalGids: [100] } },
    mounts: [
      { destination: '/x', type: 'bind', source: '/old', options: [] },
      { destination: '/a/b', type: 'bind', source: '/b', options: [] },
    ],
    linux: { devices: [], resources: { devices: [{ allow: false, access: 'rwm' }] } },
  } as unknown as RuntimeSpec;
  const apply = (edits: object) => applyCdiEdits(plain, [...parseCdiSpec(spec(edits), 'json').devices.values()]);

  test('set variables, groups, hooks and mounts, in place of those there were', async () => {
    const mounts = ['/x', '/a'].map((containerPath) => ({ hostPath: '/new', containerPath }));
    const hooks = [{ hookName: 'poststop', path: '/bin/true', timeout: 3 }];
    const edited = await apply({ env: ['A=new', 'B=2'], additionalGids: [44, 100], mounts, hooks });
    expect(edited.process.env).toEqual(['PATH=/bin', 'A=new', 'B=2']);
    expect(edited.process.user.additionalGids).toEqual([100, 44]);
    expect(edited.mounts.map(({ destination, source }) => `${destination} ${source}`)).toEqual([
      '/x /new',
      '/a /new',
      '/a/b /b',
    ]);
    expect(edited.hooks).toEqual({ poststop: [{ path: '/bin/true', timeout: 3 }] });
  });

  test('make nodes as the host has them, or as the spec says, and allow them', async () => {
    const complete = {
      path: '/dev/gpu',
      hostPath: '/dev/none',
      type: 'c',
      major: 195,
      minor: 1,
      permissions: 'r',
      uid: 7,
    };
    const { linux } = await apply({ deviceNodes: [{ path: '/dev/zero2', hostPath: '/dev/zero' }, complete] });
    const [zero, gpu] = linux.devices;
    expect(zero).toEqual({ path: '/dev/zero2', type: 'c', major: 1, minor: 5, fileMode: 0o666, uid: 1000, gid: 100 });
    expect(gpu).toEqual({ path: '/dev/gpu', type: 'c', major: 195, minor: 1, uid: 7, gid: 100 });
    expect(linux.resources.devices.slice(1)).toEqual([
      { allow: true, type: 'c', major: 1, minor: 5, access: 'rwm' },
      { allow: true, type: 'c', major: 195, minor: 1, access: 'r' },
    ]);
  });

  test('whose node is not on the host, or is no device, are refused', async () => {
    for (const hostPath of ['/dev/none', '/etc/passwd']) {
      await expect(apply({ deviceNodes: [{ path: '/dev/x', hostPath }] })).rejects.toMatchObject({
        kind: 'FailedPrecondition',
        message: expect.stringContaining(`CDI device node /dev/x: ${hostPath}`),
      });
    }
  });
});
