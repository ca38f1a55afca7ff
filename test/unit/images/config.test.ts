import { describe, expect, test } from '@jest/globals';
import { digestOf } from '../../../src/base/digest.ts';
import { parseImageConfig } from '../../../src/images/config.ts';

const digest = digestOf('config');
const diffId = digestOf('layer');

function parse(value: unknown) {
  return parseImageConfig(Buffer.from(JSON.stringify(value)), digest);
}

describe('image config', () => {
  test('every key that Cairn uses is read, and others are ignored', () => {
    const { config, diffIds } = parse({
      created: '2024-01-02T03:04:05Z',
      architecture: 'arm64',
      variant: 'v8',
      os: 'linux',
      history: [{ unknown: true }],
      config: {
        User: '1000:1000',
        Env: ['PATH=/bin', 'A=b=c'],
        Entrypoint: ['/init'],
        Cmd: ['-x'],
        WorkingDir: '/srv',
        Volumes: { '/data': {} },
        ExposedPorts: { '80/tcp': {}, '53/udp': {} },
        Labels: { maintainer: 'us', __proto__x: '1' },
        StopSignal: 'SIGQUIT',
        Healthcheck: { Test: ['NONE'] },
      },
      rootfs: { type: 'layers', diff_ids: [diffId] },
    });
    expect(config).toEqual({
      os: 'linux',
      architecture: 'arm64',
      variant: 'v8',
      created: '2024-01-02T03:04:05Z',
      user: '1000:1000',
      env: ['PATH=/bin', 'A=b=c'],
      entrypoint: ['/init'],
      cmd: ['-x'],
      workingDir: '/srv',
      volumes: ['/data'],
      exposedPorts: ['80/tcp', '53/udp'],
      labels: { maintainer: 'us', __proto__x: '1' },
      stopSignal: 'SIGQUIT',
    });
    expect(diffIds).toEqual([diffId]);
  });

  test('missing and null keys are empty', () => {
    const { config, diffIds } = parse({ config: { Env: null, Labels: null, Cmd: null, User: null } });
    expect(config).toMatchObject({ os: '', variant: undefined, env: [], cmd: [], labels: {}, user: '', created: '' });
    expect(diffIds).toEqual([]);
  });

  test.each([
    [{ config: { Env: 'PATH=/bin' } }, 'config.Env'],
    [{ config: { Env: [1] } }, 'config.Env'],
    [{ config: { Labels: { a: 1 } } }, 'config.Labels.a'],
    [{ config: [] }, 'config'],
    [{ config: { User: 0 } }, 'config.User'],
    [{ rootfs: { diff_ids: ['sha256:short'] } }, 'rootfs.diff_ids[0]'],
    [{ config: { Env: Array.from({ length: 10_001 }, () => 'A=b') } }, 'config.Env'],
    [[], 'the whole'],
    ['text', 'the whole'],
  ])('a broken config is DataLoss naming digest and key (%#)', (value, key) => {
    expect(() => parse(value)).toThrow(expect.objectContaining({ kind: 'DataLoss' }));
    expect(() => parse(value)).toThrow(digest);
    expect(() => parse(value)).toThrow(key);
  });

  test('bytes that are not JSON are DataLoss', () => {
    expect(() => parseImageConfig(Buffer.from('{"os"'), digest)).toThrow(digest);
    expect(() => parseImageConfig(Buffer.from([0x22, 0xff, 0x22]), digest)).toThrow('UTF-8');
  });
});
