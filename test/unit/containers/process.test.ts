import { describe, expect, test } from '@jest/globals';
import { commandLine, environment, workingDirectory } from '../../../src/containers/spec/process.ts';
import { containerConfig, imageConfig } from '../../fixtures/pod-configs.ts';

const image = imageConfig({ entrypoint: ['/entry'], cmd: ['a', 'b'] });

describe('the command line', () => {
  test.each([
    ["nothing asked for: the image's", [], [], ['/entry', 'a', 'b']],
    ['args replace cmd', [], ['c'], ['/entry', 'c']],
    ['a command replaces entrypoint and drops cmd', ['/x'], [], ['/x']],
    ['both', ['/x'], ['y'], ['/x', 'y']],
  ])('%s', (_name, command, args, expected) => {
    expect(commandLine(containerConfig({ command, args }), image)).toEqual(expected);
  });

  test('an image with cmd only is run by it', () => {
    expect(commandLine(containerConfig(), imageConfig({ cmd: ['/bin/sh'] }))).toEqual(['/bin/sh']);
  });

  test('no command anywhere is refused, naming the image', () => {
    expect(() => commandLine(containerConfig(), imageConfig())).toThrow(/localhost\/test:latest/);
  });
});

describe('the environment', () => {
  test("has the image's variables, the caller's over them, and a PATH", () => {
    const config = containerConfig({
      env: [
        { key: 'B', value: '2=x' },
        { key: 'C', value: '' },
      ],
    });
    const env = environment(config, imageConfig({ env: ['A=1', 'B=1', 'BARE', '=nameless'] }), 'host-1');
    expect(env).toEqual([
      'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      'HOSTNAME=host-1',
      'A=1',
      'B=2=x',
      'BARE=',
      'C=',
    ]);
  });

  test("takes the image's PATH, and has TERM on a terminal", () => {
    const env = environment(containerConfig({ tty: true }), imageConfig({ env: ['PATH=/opt'] }), 'h');
    expect(env).toEqual(['PATH=/opt', 'HOSTNAME=h', 'TERM=xterm']);
  });
});

describe('the working directory', () => {
  test.each([
    ['', '', '/'],
    ['', '/srv', '/srv'],
    ['/work', '/srv', '/work'],
    ['', 'app', '/app'],
    ['/a/../b/', '', '/b'],
  ])('caller %j, image %j: %s', (asked, ofImage, expected) => {
    expect(workingDirectory(containerConfig({ workingDir: asked }), imageConfig({ workingDir: ofImage }))).toBe(
      expected,
    );
  });
});
