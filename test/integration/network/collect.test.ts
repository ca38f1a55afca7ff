/** Garbage collection with plugins that speak it, and the network that is made of the node's pod CIDRs. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import type { NetworkServiceOptions } from '../../../src/network/index.ts';
import { BUILD_MS_MAX, CNI_PLUGINS, CNI_PLUGINS_VERSION, goPrograms } from '../../fixtures/go-programs.ts';
import { makeNetworkHost, plainRequest } from '../../fixtures/network-host.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

let plugins: string | undefined;
beforeAll(async () => {
  plugins = await goPrograms(CNI_PLUGINS, CNI_PLUGINS_VERSION);
}, BUILD_MS_MAX);

async function setUp() {
  const directory = await temporaryDirectory('collect');
  const host = makeNetworkHost();
  const at = (name: string) => join(directory.path, name);
  const options: Omit<NetworkServiceOptions, 'log'> = {
    rootDirectory: at('root'),
    confDir: at('conf'),
    binDirs: [...(plugins === undefined ? [] : [plugins]), '/usr/lib/cni'],
  };
  await mkdir(at('root'));
  return {
    ...{ host, at, options },
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** What host-local and bridge answer to GC is "done" (they hold nothing back to find): a plugin that writes down what it is told. */
const RECORDER = `#!${process.execPath}
const { appendFileSync, readFileSync } = require('node:fs');
const input = JSON.parse(readFileSync(0, 'utf8'));
const { CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_PATH: path } = process.env;
if (command === 'ADD') console.log(JSON.stringify(input.prevResult));
if (command === 'GC') appendFileSync(input.file, JSON.stringify({ id, path, input }) + '\\n');
`;

describe('garbage collection', () => {
  test('tells every plugin of a 1.1 network what is attached, unless the network says not to', async () => {
    if (plugins === undefined) return;
    await using world = await setUp();
    const { at, host, options } = world;
    await Promise.all(['conf', 'bin'].map((name) => mkdir(at(name))));
    await writeFile(at('bin/recorder'), RECORDER, { mode: 0o755 });
    const binDirs = [...options.binDirs, at('bin')];
    const ipam = { type: 'host-local', dataDir: at('ipam'), ranges: [[{ subnet: '10.79.0.0/24' }]] };
    const both = [
      { type: 'bridge', bridge: 'br0', ipam },
      { type: 'recorder', file: at('told') },
    ];
    const write = (more: object) =>
      writeFile(at('conf/net.conflist'), JSON.stringify({ cniVersion: '1.1.0', name: 'net', plugins: both, ...more }));
    const told = async () => (await readFile(at('told'), 'utf8').catch(() => '')).split('\n').filter(Boolean);

    for (const [more, count] of [
      [{ disableGC: true }, 0],
      [{ cniVersion: '1.0.0' }, 0],
      [{}, 1],
    ] as const) {
      await write(more);
      const service = await host.startService({ ...options, binDirs });
      const request = plainRequest(`pod${count}`, host.addPod().path);
      await service.add(request);
      await service.collectGarbage();
      expect(await told()).toHaveLength(count);
      expect(service.log()).not.toContain('garbage collection failed');
      await service.check(request);
      if (count === 0) await service.remove(request);
      await service.stop();
    }
    const [call = ''] = await told();
    expect(JSON.parse(call)).toMatchObject({
      path: binDirs.join(':'),
      input: {
        name: 'net',
        cniVersion: '1.1.0',
        'cni.dev/valid-attachments': [{ containerID: 'pod1', ifname: 'eth0' }],
      },
    });
    expect(JSON.parse(call)).not.toHaveProperty('id');
  });

  test('goes on after a plugin that fails, and says which one', async () => {
    if (plugins === undefined) return;
    await using world = await setUp();
    const { at, host, options } = world;
    await Promise.all(['conf', 'bin'].map((name) => mkdir(at(name))));
    await writeFile(at('bin/recorder'), RECORDER, { mode: 0o755 });
    await writeFile(at('bin/broken'), '#!/bin/sh\necho no idea >&2; exit 1\n', { mode: 0o755 });
    const list = [{ type: 'broken' }, { type: 'recorder', file: at('told') }];
    await writeFile(at('conf/net.conflist'), JSON.stringify({ cniVersion: '1.1.0', name: 'net', plugins: list }));
    const service = await host.startService({ ...options, binDirs: [at('bin')] });
    await service.collectGarbage();
    expect(await readFile(at('told'), 'utf8')).toContain('"cni.dev/valid-attachments":[]');
    expect(service.log()).toMatch(/plugin broken: GC: exit code 1: no idea/);
    await service.stop();
  });
});

describe('the pod CIDRs of a node', () => {
  test('become a bridge network with both families when there is none', async () => {
    await using world = await setUp();
    const { at, host } = world;
    const service = await host.startService({ ...world.options, podCidrBridge: 'brcidr' });
    expect((await service.status()).ready).toBe(false);
    await service.setPodCidrs(['10.78.4.0/24', 'fd78:4::/64']);
    expect((await service.status()).ready).toBe(true);
    const pod = host.addPod();
    const request = plainRequest('pod', pod.path);
    expect((await service.add(request)).ips).toEqual(['10.78.4.2', 'fd78:4::2']);
    expect(host.run('ip', '-o', 'addr', 'show', 'brcidr')).toContain('10.78.4.1/24');
    await service.check(request);
    await service.remove(request);
    // It is there now: other CIDRs do not change the network under running pods.
    const [file = ''] = await readdir(at('conf'));
    const before = await readFile(at(`conf/${file}`), 'utf8');
    await service.setPodCidrs(['10.99.0.0/24']);
    expect(await readFile(at(`conf/${file}`), 'utf8')).toBe(before);
    await expect(service.setPodCidrs(['10.99.0.0/24', 'x'])).rejects.toMatchObject({ kind: 'InvalidArgument' });
    await service.stop();
  });

  test('leave a node alone that has a network, or was not told to make one', async () => {
    await using world = await setUp();
    const { at, host, options } = world;
    const service = await host.startService(options);
    await service.setPodCidrs(['10.78.4.0/24']);
    expect((await service.status()).reason).toBe('NetworkPluginNotReady');
    await service.stop();
    await mkdir(at('conf'));
    await writeFile(at('conf/10-net.conf'), JSON.stringify({ cniVersion: '1.0.0', name: 'net', type: 'ptp' }));
    const next = await host.startService({ ...options, podCidrBridge: 'brcidr' });
    await next.setPodCidrs(['10.78.4.0/24']);
    expect(await readdir(at('conf'))).toEqual(['10-net.conf']);
    await next.stop();
  });
});
