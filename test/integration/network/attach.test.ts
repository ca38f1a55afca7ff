/** Networks from a configuration directory, with the real plugins and the kernel, on a host that is a namespace. */
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import type { NetworkServiceOptions } from '../../../src/network/index.ts';
import { makeNetworkHost, plainRequest, serve, talk } from '../../fixtures/network-host.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

const PLUGINS = '/usr/lib/cni';

async function setUp() {
  const directory = await temporaryDirectory('network');
  const host = makeNetworkHost();
  const at = (name: string) => join(directory.path, name);
  await Promise.all(['conf', 'bin', 'root'].map((name) => mkdir(at(name))));
  const options: Omit<NetworkServiceOptions, 'log'> = {
    rootDirectory: at('root'),
    confDir: at('conf'),
    binDirs: [at('bin'), PLUGINS],
  };
  const bridge = {
    type: 'bridge',
    bridge: 'br0',
    isGateway: true,
    ipam: {
      type: 'host-local',
      dataDir: at('ipam'),
      ranges: [[{ subnet: '10.77.0.0/24' }], [{ subnet: 'fd77::/64' }]],
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
    },
  };
  return {
    directory,
    host,
    at,
    options,
    bridge,
    addresses: async () =>
      (await readdir(at('ipam/net')).catch(() => [])).filter((name) => /^[\d.]+$|:/.test(name)).sort(),
    writeList: (plugins: readonly object[], { file = '10-net.conflist', name = 'net' } = {}) =>
      writeFile(at(`conf/${file}`), JSON.stringify({ cniVersion: '1.0.0', name, plugins })),
    writePlugin: async (name: string, script: string) => {
      await writeFile(at(`bin/${name}`), `#!/bin/sh\n${script}\n`);
      await chmod(at(`bin/${name}`), 0o755);
    },
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

describe('a pod', () => {
  test('is attached with an address of each family, checked, and detached with nothing left', async () => {
    await using world = await setUp();
    await world.writeList([world.bridge]);
    const service = await world.host.startService(world.options);
    const pod = world.host.addPod();
    const request = plainRequest('pod1', pod.path);

    const { ips } = await service.add(request);
    expect(ips).toEqual(['10.77.0.2', 'fd77::2']);
    expect(world.host.run('ip', '-n', pod.name, '-o', 'addr', 'show', 'eth0')).toContain('10.77.0.2/24');
    await serve(world.host, pod.name, 80, '"hello"');
    expect(talk(world.host, undefined, '10.77.0.2', 80)).toBe('hello');
    // The kernel looks for duplicates of a new bridge's address for a second or two.
    while (world.host.run('ip', '-6', 'addr', 'show', 'dev', 'br0', 'tentative') !== '') await setTimeout(50);
    expect(talk(world.host, undefined, 'fd77::2', 80)).toBe('hello');
    await service.check(request);
    expect(await service.attachments()).toEqual([request]);
    await expect(service.add(request)).rejects.toMatchObject({ kind: 'AlreadyExists' });

    await service.remove(request);
    await service.remove(request);
    expect(await world.addresses()).toEqual([]);
    expect(await readdir(world.at('root/network/attachments'))).toEqual([]);
    expect(world.host.run('ip', '-o', 'link', 'show', 'type', 'veth')).toBe('');
    await expect(service.check(request)).rejects.toMatchObject({ kind: 'NotFound' });
  });

  test('whose address was taken away fails the check with the words of the plugin', async () => {
    await using world = await setUp();
    await world.writeList([world.bridge]);
    const service = await world.host.startService(world.options);
    const pod = world.host.addPod();
    const request = plainRequest('pod1', pod.path);
    await service.add(request);
    world.host.run('ip', '-n', pod.name, 'addr', 'flush', 'dev', 'eth0');
    await expect(service.check(request)).rejects.toThrow(/network net: plugin bridge: CHECK: .*10\.77\.0\.2/);
  });

  test('gets its address back to the pool when a later plugin fails, and the error has its name and words', async () => {
    await using world = await setUp();
    await world.writeList([world.bridge, { type: 'refuser' }]);
    const refusal = '{"cniVersion":"1.0.0","code":104,"msg":"no room","details":"the inn is full"}';
    await world.writePlugin(
      'refuser',
      `echo $CNI_COMMAND >>${world.at('calls')}; [ $CNI_COMMAND = DEL ] || { echo '${refusal}'; exit 1; }`,
    );
    const service = await world.host.startService(world.options);
    const pod = world.host.addPod();

    await expect(service.add(plainRequest('pod1', pod.path))).rejects.toThrow(
      'network net: plugin refuser: ADD: no room; the inn is full (CNI code 104)',
    );
    expect(await readFile(world.at('calls'), 'utf8')).toBe('ADD\nDEL\n');
    expect(await world.addresses()).toEqual([]);
    expect(await service.attachments()).toEqual([]);
    expect(world.host.run('ip', '-n', pod.name, '-o', 'link')).not.toContain('eth0');
  });

  test('whose undo fails too stays known, and is removed once the plugin works', async () => {
    await using world = await setUp();
    await world.writeList([world.bridge, { type: 'broken' }]);
    await world.writePlugin('broken', 'echo out of order >&2; exit 3');
    const service = await world.host.startService(world.options);
    const request = plainRequest('pod1', world.host.addPod().path);

    await expect(service.add(request)).rejects.toThrow('network net: plugin broken: ADD: exit code 3: out of order');
    expect(await world.addresses()).toEqual([]);
    expect((await service.attachments()).map(({ id }) => id)).toEqual(['pod1']);
    await expect(service.remove(request)).rejects.toThrow(/plugin broken: DEL/);
    await world.writePlugin('broken', 'exit 0');
    await service.remove(request);
    expect(await service.attachments()).toEqual([]);
  });

  test('does not wait for a plugin that hangs', async () => {
    await using world = await setUp();
    await world.writeList([world.bridge, { type: 'sleeper' }]);
    await world.writePlugin('sleeper', '[ $CNI_COMMAND = DEL ] || sleep 60');
    const service = await world.host.startService({ ...world.options, pluginTimeoutMs: 300 });
    const adding = service.add(plainRequest('pod1', world.host.addPod().path));
    await expect(adding).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    await expect(adding).rejects.toThrow(/plugin sleeper: ADD/);
    expect(await world.addresses()).toEqual([]);
  });
});

describe('a caller', () => {
  test('who gives up ends the plugin, and what was done is undone', async () => {
    await using world = await setUp();
    await world.writeList([world.bridge, { type: 'sleeper' }]);
    await world.writePlugin('sleeper', `[ $CNI_COMMAND = DEL ] || { echo $$ >${world.at('pid')}; exec sleep 60; }`);
    const service = await world.host.startService(world.options);
    const adding = service.addWithin(500, plainRequest('pod1', world.host.addPod().path));
    await expect(adding).rejects.toMatchObject({ kind: 'DeadlineExceeded' });
    expect(await world.addresses()).toEqual([]);
    expect(await service.attachments()).toEqual([]);
    const pid = Number(await readFile(world.at('pid'), 'utf8'));
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });
});

describe('a plugin', () => {
  test('is told of the pod, of the capabilities that it declares, and of the result before it', async () => {
    await using world = await setUp();
    await world.writeList([world.bridge, { type: 'witness', own: 1, capabilities: { dns: true, ips: true } }]);
    // Its result is the one before it, cut out of its configuration.
    await world.writePlugin(
      'witness',
      `cat >${world.at('stdin')}.$CNI_COMMAND; env >${world.at('env')}.$CNI_COMMAND
       [ $CNI_COMMAND = DEL ] || sed 's/.*"prevResult"://; s/}$//' ${world.at('stdin')}.$CNI_COMMAND`,
    );
    const service = await world.host.startService(world.options, { NOTIFY_SOCKET: '/nowhere' });
    const pod = world.host.addPod();
    const dns = { servers: ['10.0.0.10'], searches: [], options: [] };
    const request = plainRequest('pod1', pod.path, { dns, cgroupParent: '/never-asked-for' });
    const { raw } = await service.add(request);

    const configuration = JSON.parse(await readFile(world.at('stdin.ADD'), 'utf8'));
    expect(configuration).toEqual({
      type: 'witness',
      own: 1,
      name: 'net',
      cniVersion: '1.0.0',
      runtimeConfig: { dns },
      prevResult: raw,
    });
    const environment = await readFile(world.at('env.ADD'), 'utf8');
    expect(environment).toContain(
      'CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=name-pod1;' +
        'K8S_POD_INFRA_CONTAINER_ID=pod1;K8S_POD_UID=uid-pod1\n',
    );
    for (const line of ['CNI_CONTAINERID=pod1', `CNI_NETNS=${pod.path}`, 'CNI_IFNAME=eth0', 'CNI_COMMAND=ADD']) {
      expect(environment).toContain(`${line}\n`);
    }
    expect(environment).not.toContain('NOTIFY_SOCKET');

    world.host.removePod(pod.name);
    await service.remove(request);
    expect(JSON.parse(await readFile(world.at('stdin.DEL'), 'utf8'))).toMatchObject({ prevResult: raw });
    expect(await readFile(world.at('env.DEL'), 'utf8')).toContain('CNI_NETNS=\n');
  });

  test('of old that answers in version 0.2.0 is understood', async () => {
    await using world = await setUp();
    await world.writeList([{ type: 'elder' }]);
    await world.writePlugin('elder', `echo '{"cniVersion":"0.2.0","ip4":{"ip":"10.77.0.9/24"}}'`);
    const service = await world.host.startService(world.options);
    const { ips, raw } = await service.add(plainRequest('pod1', world.host.addPod().path));
    expect(ips).toEqual(['10.77.0.9']);
    expect(raw).toMatchObject({ cniVersion: '1.0.0', ips: [{ address: '10.77.0.9/24' }] });
  });

  test.each([
    ['prints no result', 'exit 0', /plugin odd: ADD: printed no result/],
    ['prints what is no JSON', 'echo hello', /plugin odd: ADD: its answer is not JSON: hello/],
    ['gives no address', `echo '{"cniVersion":"1.0.0"}'`, /gave the pod no address/],
    ['is killed', '[ $CNI_COMMAND = DEL ] || kill -9 $$', /plugin odd: ADD: killed by signal 9/],
    ['prints without end', '[ $CNI_COMMAND = DEL ] || yes', /plugin odd: ADD: .* did not end/],
  ])('that %s fails the pod', async (_, script, message) => {
    await using world = await setUp();
    await world.writeList([{ type: 'odd' }]);
    await world.writePlugin('odd', script);
    const service = await world.host.startService({ ...world.options, pluginTimeoutMs: 500 });
    const adding = service.add(plainRequest('pod1', world.host.addPod().path));
    await expect(adding).rejects.toThrow(message);
  });
});

describe('a restart', () => {
  test('keeps what is attached: DEL works with the namespace gone and another network in use', async () => {
    await using world = await setUp();
    await world.writeList([world.bridge]);
    const first = await world.host.startService(world.options);
    const pod = world.host.addPod();
    const request = plainRequest('pod1', pod.path);
    await first.add(request);
    await first.stop();
    world.host.removePod(pod.name);
    await rm(world.at('conf'), { recursive: true });

    const second = await world.host.startService(world.options);
    expect(await second.status()).toMatchObject({ ready: false, reason: 'NetworkPluginNotReady' });
    expect(await second.attachments()).toEqual([request]);
    // After a reboot the pin is an empty file.
    await writeFile(world.at('pin'), '');
    await second.remove({ ...request, netnsPath: world.at('pin') });
    expect(await world.addresses()).toEqual([]);
    expect(await second.attachments()).toEqual([]);
  });

  test.each([
    ['network.cache.begun=crash', []],
    ['network.add.portmap=crash', ['10.77.0.2', 'fd77::2']],
    ['network.cache.complete=crash', ['10.77.0.2', 'fd77::2']],
  ])('after a death at %s gives back what was taken', async (failpoints, taken) => {
    await using world = await setUp();
    await world.writeList([world.bridge, { type: 'portmap', capabilities: { portMappings: true } }]);
    const doomed = await world.host.startService(world.options, { CAIRN_FAILPOINTS: failpoints });
    const pod = world.host.addPod();
    const portMappings = [{ protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '' }] as const;
    const request = plainRequest('pod1', pod.path, { portMappings });
    await expect(doomed.add(request)).rejects.toThrow(/the network service is gone/);
    expect(await world.addresses()).toEqual(taken);

    const next = await world.host.startService(world.options);
    for (const left of await next.attachments()) await next.remove(left);
    expect(await world.addresses()).toEqual([]);
    expect(await next.attachments()).toEqual([]);
    expect((await next.add(request)).ips).toHaveLength(2);
  });
});

describe('a plugin that outlives its daemon', () => {
  test('is ended by the next one, so that it takes nothing after DEL', async () => {
    await using world = await setUp();
    await world.writeList([world.bridge, { type: 'slow' }]);
    const late = world.at('late');
    await world.writePlugin('slow', `[ $CNI_COMMAND = DEL ] || { touch ${late}.began; sleep 1; touch ${late}; }`);
    const doomed = await world.host.startService(world.options);
    const request = plainRequest('pod1', world.host.addPod().path);
    const adding = expect(doomed.add(request)).rejects.toThrow(/is gone/);
    while (!existsSync(`${late}.began`)) await setTimeout(20);
    await doomed.stop('kill');
    await adding;

    const next = await world.host.startService(world.options);
    await next.remove(request);
    expect(next.log()).toContain('a network plugin of an earlier cairnd still runs');
    await setTimeout(1200);
    expect(existsSync(late)).toBe(false);
    expect(await world.addresses()).toEqual([]);
  });
});

describe('the configuration directory', () => {
  test('is followed: made, filled, changed and emptied while the service runs', async () => {
    await using world = await setUp();
    await rm(world.at('conf'), { recursive: true });
    const confDir = world.at('conf/deep/net.d');
    const service = await world.host.startService({ ...world.options, confDir });
    expect(await service.status()).toMatchObject({ ready: false, reason: 'NetworkPluginNotReady' });
    expect((await service.status()).message).toContain(confDir);
    await expect(service.add(plainRequest('pod1', world.host.addPod().path))).rejects.toThrow(
      /^NetworkPluginNotReady: /,
    );

    const settled = async (network: unknown) => {
      for (let left = 40; left > 0; left--) {
        if ((await service.status()).network === network) return;
        await setTimeout(50);
      }
      throw new Error(`${JSON.stringify(await service.status())}: not ${network}\n${service.log()}`);
    };
    const write = (file: string, name: string) =>
      writeFile(join(confDir, file), JSON.stringify({ cniVersion: '1.0.0', name, plugins: [world.bridge] }));
    await mkdir(confDir, { recursive: true });
    await write('20-b.conflist', 'second');
    await settled(`second (${join(confDir, '20-b.conflist')})`);
    await write('10-a.conflist', 'first');
    await settled(`first (${join(confDir, '10-a.conflist')})`);
    await write('10-a.conflist', 'renamed');
    await settled(`renamed (${join(confDir, '10-a.conflist')})`);
    await writeFile(join(confDir, '10-a.conflist'), 'broken');
    await settled(`second (${join(confDir, '20-b.conflist')})`);
    expect(service.log()).toMatch(/10-a\.conflist.*is not JSON/);
    await rm(world.at('conf'), { recursive: true });
    await settled(undefined);
    await mkdir(confDir, { recursive: true });
    await write('30-c.conflist', 'third');
    await settled(`third (${join(confDir, '30-c.conflist')})`);
  });

  test('whose plugin is not installed makes the network not ready, until it is', async () => {
    await using world = await setUp();
    await world.writeList([{ type: 'latecomer' }]);
    const service = await world.host.startService(world.options);
    expect(await service.status()).toMatchObject({ ready: false, reason: 'NetworkPluginNotReady' });
    expect((await service.status()).message).toMatch(/plugin latecomer/);
    await world.writePlugin('latecomer', `echo '{"cniVersion":"1.0.0","ips":[{"address":"10.77.0.9/24"}]}'`);
    const { ips } = await service.add(plainRequest('pod1', world.host.addPod().path));
    expect(ips).toEqual(['10.77.0.9']);
    expect(await service.status()).toMatchObject({ ready: true, reason: '', message: '' });
  });
});
