/** The embedded bridge network: host ports, one masquerade rule, two instances, collisions, teardown. */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import type { EmbeddedOptions, NetworkServiceOptions } from '../../../src/network/index.ts';
import { makeNetworkHost, type NetworkHost, plainRequest, serve, talk } from '../../fixtures/network-host.ts';
import { temporaryDirectory } from '../../fixtures/temporary-directory.ts';

async function setUp() {
  const directory = await temporaryDirectory('embedded');
  const host = makeNetworkHost();
  const instance = (name: string, embedded: EmbeddedOptions): Omit<NetworkServiceOptions, 'log'> => ({
    rootDirectory: join(directory.path, name),
    confDir: join(directory.path, 'no-such-conf'),
    binDirs: ['/usr/lib/cni'],
    embedded,
  });
  return {
    directory,
    host,
    instance,
    addresses: (name: string) => join(directory.path, name, 'network/addresses', name),
    async [Symbol.asyncDispose]() {
      await host[Symbol.asyncDispose]();
      await directory[Symbol.asyncDispose]();
    },
  };
}

const ONE: EmbeddedOptions = { name: 'one', bridge: 'one0', subnet: '10.78.0.0/24', subnet6: 'fd78::/64' };
const TWO: EmbeddedOptions = { name: 'two', bridge: 'two0', subnet: '10.79.0.0/24' };

const natRules = (host: NetworkHost) =>
  host
    .run('iptables-save')
    .split('\n')
    .filter((line) => line.startsWith('-A') && /CAIRN|MASQUERADE/.test(line));

/** A machine beyond the host's uplink; answers each connection with the address that it sees. */
async function addOutside(host: NetworkHost): Promise<string> {
  const outside = host.addPod();
  host.run('ip', 'link', 'add', 'uplink', 'mtu', '1400', 'type', 'veth', 'peer', 'name', 'wire', 'netns', outside.name);
  host.run('ip', 'addr', 'add', '192.0.2.1/24', 'dev', 'uplink');
  host.run('ip', 'link', 'set', 'uplink', 'up');
  host.run('ip', '-n', outside.name, 'addr', 'add', '192.0.2.2/24', 'dev', 'wire');
  host.run('ip', '-n', outside.name, 'link', 'set', 'wire', 'up');
  host.run('ip', 'route', 'add', 'default', 'via', '192.0.2.2');
  await serve(host, outside.name, 7000, "socket.remoteAddress.replace('::ffff:', '')");
  return outside.name;
}

describe('the embedded network', () => {
  test('gives pods addresses, a way out behind one masquerade rule, and forwarding', async () => {
    await using world = await setUp();
    const outside = await addOutside(world.host);
    world.host.run('sysctl', '-qw', 'net.ipv4.ip_forward=0');
    const service = await world.host.startService(world.instance('one', ONE));
    expect(await service.status()).toMatchObject({ ready: true, network: 'one (embedded, bridge one0)' });
    const pods = await Promise.all(
      ['a', 'b', 'c'].map(async (id) => {
        const pod = world.host.addPod();
        const request = plainRequest(id, pod.path);
        return { ...pod, request, ips: (await service.add(request)).ips };
      }),
    );
    expect(pods.map(({ ips }) => ips[0]).sort()).toEqual(['10.78.0.2', '10.78.0.3', '10.78.0.4']);
    expect(pods.every(({ ips }) => ips[1]?.startsWith('fd78::'))).toBe(true);
    const [a, b] = pods;
    if (!a || !b) throw new Error('no pods');

    expect(talk(world.host, a.name, '192.0.2.2', 7000)).toBe('192.0.2.1');
    await serve(world.host, b.name, 9000, '"b"');
    expect(talk(world.host, a.name, String(b.ips[0]), 9000)).toBe('b');
    expect(talk(world.host, a.name, String(b.ips[1]), 9000)).toBe('b');
    // No larger packets than the uplink takes.
    expect(world.host.run('ip', '-n', a.name, 'link', 'show', 'eth0')).toContain('mtu 1400');
    expect(natRules(world.host).filter((rule) => rule.includes('MASQUERADE'))).toEqual([
      '-A CAIRN-one0 -s 10.78.0.0/24 ! -d 224.0.0.0/4 -j MASQUERADE',
    ]);
    expect(world.host.run('ip6tables-save').match(/MASQUERADE/g)).toHaveLength(1);

    // A host whose policy is to forward nothing lets pods out, and nobody in uninvited.
    world.host.run('iptables', '-P', 'FORWARD', 'DROP');
    expect(talk(world.host, a.name, '192.0.2.2', 7000)).toBe('192.0.2.1');
    world.host.run('ip', '-n', outside, 'route', 'add', '10.78.0.0/24', 'via', '192.0.2.1');
    await serve(world.host, a.name, 8000, '"inside"');
    expect(() => talk(world.host, outside, String(a.ips[0]), 8000)).toThrow();
    await Promise.all(pods.map(({ request }) => service.remove(request)));
    expect((await readdir(world.addresses('one'))).filter((name) => /^[\d.]+$|:/.test(name))).toEqual([]);
  });

  test('maps host ports for the host itself, its loopback, others and the pod, and takes them back', async () => {
    await using world = await setUp();
    const outside = await addOutside(world.host);
    const service = await world.host.startService(world.instance('two', TWO));
    const pod = world.host.addPod();
    const portMappings = [{ protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '' }] as const;
    const request = plainRequest('a', pod.path, { portMappings });
    await service.add(request);
    await serve(world.host, pod.name, 80, '"hello"');

    expect(await service.talk('127.0.0.1', 8080)).toBe('hello');
    expect(await service.talk('192.0.2.1', 8080)).toBe('hello');
    expect(talk(world.host, outside, '192.0.2.1', 8080)).toBe('hello');
    expect(talk(world.host, pod.name, '192.0.2.1', 8080)).toBe('hello');
    world.host.run('iptables', '-P', 'FORWARD', 'DROP');
    expect(talk(world.host, outside, '192.0.2.1', 8080)).toBe('hello');

    await service.remove(request);
    await expect(service.talk('127.0.0.1', 8080)).rejects.toThrow(/ECONNREFUSED/);
    expect(world.host.run('iptables-save', '-t', 'nat')).not.toContain('8080');
  });

  test('limits the rate of a pod that asks for it', async () => {
    await using world = await setUp();
    const service = await world.host.startService(world.instance('two', TWO));
    const annotations = { 'kubernetes.io/ingress-bandwidth': '8M' };
    const request = plainRequest('a', world.host.addPod().path, { annotations });
    await service.add(request);
    expect(world.host.run('tc', 'qdisc', 'show')).toMatch(/tbf .*rate 8Mbit/);
    await service.remove(request);
  });

  test('puts its rules in place once, also after a restart, and again when something swept them away', async () => {
    await using world = await setUp();
    const options = world.instance('two', TWO);
    const attachOne = async (id: string) => {
      const service = await world.host.startService(options);
      await service.add(plainRequest(id, world.host.addPod().path));
      await service.stop();
      return natRules(world.host);
    };
    const rules = await attachOne('a');
    expect(rules).toHaveLength(6);
    expect(await attachOne('b')).toEqual(rules);
    world.host.run('iptables', '-t', 'nat', '-F');
    expect((await attachOne('c')).toSorted()).toEqual(rules.toSorted());
  });

  test('puts its rules in place once, also when the first pods come all at once', async () => {
    await using world = await setUp();
    const service = await world.host.startService(world.instance('two', TWO));
    await Promise.all(['a', 'b', 'c', 'd'].map((id) => service.add(plainRequest(id, world.host.addPod().path))));
    expect(natRules(world.host)).toHaveLength(6);
  });

  test('lives beside that of another instance', async () => {
    await using world = await setUp();
    await addOutside(world.host);
    const one = await world.host.startService(world.instance('one', ONE));
    const two = await world.host.startService(world.instance('two', TWO));
    const pods = [world.host.addPod(), world.host.addPod()];
    const requests = pods.map(({ path }, index) => plainRequest(`p${index}`, path));
    const [a, b] = requests;
    const [podA, podB] = pods;
    if (!a || !b || !podA || !podB) throw new Error('no pods');
    const results = await Promise.all([one.add(a), two.add(b)]);
    expect(results.map(({ ips }) => ips[0])).toEqual(['10.78.0.2', '10.79.0.2']);

    await one.remove(a);
    await one.teardown();
    expect(world.host.run('ip', '-o', 'link', 'show', 'type', 'bridge')).not.toContain('one0');
    expect(natRules(world.host).join()).not.toContain('one0');
    expect(talk(world.host, podB.name, '192.0.2.2', 7000)).toBe('192.0.2.1');
    expect((await one.add(a)).ips[0]).toMatch(/^10\.78\.0\./);
  });

  test('is not taken down while a pod is attached, and leaves nothing afterwards', async () => {
    await using world = await setUp();
    const service = await world.host.startService(world.instance('one', ONE));
    const request = plainRequest('a', world.host.addPod().path);
    await service.add(request);
    await expect(service.teardown()).rejects.toMatchObject({ kind: 'FailedPrecondition' });
    await service.remove(request);
    await service.teardown();
    await service.teardown();
    expect(world.host.run('ip', '-o', 'link', 'show', 'type', 'bridge')).toBe('');
    expect(world.host.run('iptables-save')).not.toContain('CAIRN');
    expect(world.host.run('ip6tables-save')).not.toContain('CAIRN');
    expect(await readdir(join(world.directory.path, 'one/network/addresses'))).toEqual([]);
  });

  test("is refused when its subnet collides with one of the host's routes", async () => {
    await using world = await setUp();
    world.host.run('ip', 'link', 'add', 'office', 'type', 'veth');
    world.host.run('ip', 'link', 'set', 'office', 'up');
    world.host.run('ip', 'route', 'add', '10.64.0.0/10', 'dev', 'office');
    const service = await world.host.startService(world.instance('one', ONE));
    const status = await service.status();
    expect(status).toMatchObject({ ready: false, reason: 'NetworkPluginNotReady' });
    expect(status.message).toContain("10.78.0.0/24 collides with the host's route 10.64.0.0/10 by office");
    const request = plainRequest('a', world.host.addPod().path);
    await expect(service.add(request)).rejects.toMatchObject({ kind: 'FailedPrecondition' });
    expect(await service.attachments()).toEqual([]);

    world.host.run('ip', 'link', 'delete', 'office');
    expect((await service.add(request)).ips[0]).toBe('10.78.0.2');
  });

  test('is refused when its bridge is another instance’s, somebody else’s, or no bridge', async () => {
    await using world = await setUp();
    const one = await world.host.startService(world.instance('one', ONE));
    await one.add(plainRequest('a', world.host.addPod().path));
    const thief = await world.host.startService(world.instance('two', { ...ONE, subnet: '10.78.0.0/24' }));
    expect((await thief.status()).message).toMatch(/bridge one0 belongs to "cairn .*\/one"/);
    world.host.run('ip', 'link', 'add', 'two0', 'type', 'bridge');
    world.host.run('ip', 'link', 'add', 'port', 'master', 'two0', 'type', 'veth');
    const intruder = await world.host.startService(world.instance('two', TWO));
    const request = plainRequest('b', world.host.addPod().path);
    await expect(intruder.add(request)).rejects.toThrow(/bridge two0 is in use \(port\)/);
    await intruder.teardown();
    expect(world.host.run('ip', 'link', 'show', 'two0')).toContain('two0');
    const wrong = await world.host.startService(world.instance('three', { ...TWO, bridge: 'lo' }));
    expect((await wrong.status()).message).toMatch(/lo is no bridge/);
  });

  test('frees addresses that a power cut left without an attachment, and no other', async () => {
    await using world = await setUp();
    const options = world.instance('two', TWO);
    const first = await world.host.startService(options);
    await first.add(plainRequest('a', world.host.addPod().path));
    await first.stop('kill');
    await writeFile(join(world.addresses('two'), '10.79.0.77'), '');
    await writeFile(join(world.addresses('two'), '10.79.0.78'), 'nobody\r\neth0');

    const second = await world.host.startService(options);
    await second.add(plainRequest('b', world.host.addPod().path));
    const book = (await readdir(world.addresses('two'))).filter((name) => /^[\d.]+$/.test(name)).sort();
    expect(book).toEqual(['10.79.0.2', '10.79.0.3']);
    expect(await readFile(join(world.addresses('two'), '10.79.0.2'), 'utf8')).toMatch(/^a\b/);
  });
});
