import { describe, expect, test } from '@jest/globals';
import { parseHostsToml } from '../../../src/registry/hosts-toml.ts';

describe('hosts.toml', () => {
  test('is read with every key, hosts in the order of the file', () => {
    const { server, hosts } = parseHostsToml(
      `
server = "https://registry-1.example"
capabilities = ["pull"]
ca = "ca.pem"

[host."http://second.example:5000/prefix"]
  capabilities = ["pull", "resolve", "push"]
  ca = ["a.pem", "/etc/b.pem"]
  client = [["cert.pem", "key.pem"], ["both.pem", ""]]
  skip_verify = true
  override_path = true
  dial_timeout = "1m1.5s"
  [host."http://second.example:5000/prefix".header]
    X-One = "1"
    x-two = ["a", "b"]

[host."first.example"]
  client = "both.pem"
[host."https://empty.example"]
`,
      'hosts.toml',
    );
    expect(server.url?.href).toBe('https://registry-1.example/');
    expect(server).toMatchObject({ capabilities: ['pull'], caPaths: ['ca.pem'], overridePath: false });
    expect(hosts.map((host) => host.url?.href)).toEqual([
      'http://second.example:5000/prefix',
      'https://first.example/',
      'https://empty.example/',
    ]);
    expect(hosts[0]).toMatchObject({
      capabilities: ['pull', 'resolve', 'push'],
      caPaths: ['a.pem', '/etc/b.pem'],
      clientPaths: [
        { certificate: 'cert.pem', key: 'key.pem' },
        { certificate: 'both.pem', key: 'both.pem' },
      ],
      skipVerify: true,
      overridePath: true,
      connectTimeoutMs: 61_500,
      headers: { 'x-one': '1', 'x-two': 'a, b' },
      line: 6,
    });
    expect(hosts[1]?.clientPaths).toEqual([{ certificate: 'both.pem', key: 'both.pem' }]);
    expect(hosts[2]).toMatchObject({ capabilities: ['pull', 'resolve', 'push'], skipVerify: undefined });
  });

  test('may be written with inline tables, and may be empty', () => {
    const inline = parseHostsToml('host = { "https://a.example" = { header = { A = "b" } } }\n', 'hosts.toml');
    expect(inline.hosts[0]?.headers).toEqual({ a: 'b' });
    expect(parseHostsToml('', 'hosts.toml')).toMatchObject({ server: { url: undefined }, hosts: [] });
    expect(parseHostsToml('server = ""', 'hosts.toml').server.url).toBeUndefined();
  });

  const wrong: readonly (readonly [string, string])[] = [
    ['servr = "https://a.example"', 'f:1: unknown key "servr"; allowed are server, host, capabilities'],
    ['[host."https://a.example"]\n\nskip_verfy = true', 'f:3: unknown key "skip_verfy"; allowed are capabilities'],
    ['[host."https://a.example"]\nserver = "x"', 'f:2: unknown key "server"'],
    ['[hosts."https://a.example"]', 'f:1: unknown key "hosts.https://a.example"'],
    ['[host."https://a.example".tls]', 'f:1: unknown key "tls"'],
    ['[host."https://a.example".ca]', 'f:1: ca: is the path'],
    ['[[host]]\nx = 1', 'f:1: host: is not a list'],
    ['host = "https://a.example"', 'f:1: host: write one table per host'],
    ['server = 1', 'f:1: server: is a string'],
    ['server = "ftp://a.example"', 'f:1: "ftp://a.example" is not an http or https address'],
    ['\nserver = "https://user:secret@a.example"', 'f:2: an address must not hold a user or password'],
    ['[host."https://a.example?x=1"]', 'f:1: "https://a.example?x=1" must not have "?" or "#"'],
    ['capabilities = ["pul"]', 'f:1: capabilities: unknown "pul"; allowed are pull, resolve, push'],
    ['capabilities = "pull"', 'f:1: capabilities: is a list'],
    ['skip_verify = "yes"', 'f:1: skip_verify: is true or false'],
    ['client = [["a", "b", "c"]]', 'f:1: client: is a PEM file'],
    ['ca = [1]', 'f:1: ca: is the path'],
    ['dial_timeout = "3"', 'f:1: dial_timeout: is a duration'],
    ['header = "x"', 'f:1: header: is a table'],
    ['[header]\n"a b" = "x"', 'f:2: header: "a b" is not the name of a header'],
    ['[header]\na = "x\\ny"', 'f:2: header: the value of "a" is a line of text'],
    ['server = "a', 'f:1: '],
    ['a = 1\na = 2', 'f:2: '],
  ];
  test.each(wrong)('%j is refused, naming file and line', (text, message) => {
    expect(() => parseHostsToml(text, 'f')).toThrow(message);
    expect(() => parseHostsToml(text, 'f')).toThrow(expect.objectContaining({ kind: 'FailedPrecondition' }));
    expect(() => parseHostsToml(text, 'f')).not.toThrow('secret');
  });
});
