import { describe, expect, test } from '@jest/globals';
import { containerCgroup, monitorCgroup } from '../../../src/task/cgroups.ts';
import { conmonArguments, parseAnswer } from '../../../src/task/conmon.ts';
import { parseExitCode } from '../../../src/task/exits.ts';
import type { TaskSpec } from '../../../src/task/index.ts';
import { parseOomKills } from '../../../src/task/oom.ts';
import { checkTaskId, taskPaths } from '../../../src/task/paths.ts';
import { parseRecord } from '../../../src/task/record.ts';
import { lastError, withoutPreamble } from '../../../src/task/runtime.ts';

describe('what conmon answers', () => {
  test('is a process number', () => {
    expect(parseAnswer('{"pid": 4711}\n')).toEqual({ pid: 4711, runtimeWords: '', ownWords: '' });
  });

  test('or the words of the runtime, after what conmon said of itself', () => {
    const text = '[conmon:w]: a warning\n{"pid": -1, "message": "runc create failed: \\"x\\"\\n"}\n';
    expect(parseAnswer(text)).toEqual({
      pid: -1,
      runtimeWords: 'runc create failed: "x"\n',
      ownWords: 'a warning',
    });
  });

  test.each(['', 'no JSON', '{"pid": "4"}', '{"pid"', '[1]', '{"data": 3}\n'])('%j is no answer', (text) => {
    expect(parseAnswer(text).pid).toBeUndefined();
  });
});

describe('what the runtime says', () => {
  test('is the last error of its log', () => {
    const log = [
      '{"level":"error","msg":"first"}',
      'not JSON',
      '{"level":"error","msg":"runc create failed: unable to start container process: exec: \\"x\\": not found"}',
      '{"level":"warning","msg":"later"}',
      '',
    ].join('\n');
    expect(withoutPreamble(lastError(log) ?? '')).toBe('exec: "x": not found');
    expect(lastError('{"level":"info","msg":"fine"}\n')).toBeUndefined();
  });

  test.each([
    ['exec failed: unable to start container process: exec: "x"', 'exec: "x"'],
    ['runc create failed: invalid mount', 'invalid mount'],
    ['container does not exist', 'container does not exist'],
  ])('loses only its preamble: %s', (words, plain) => {
    expect(withoutPreamble(words)).toBe(plain);
  });
});

describe('files that others wrote', () => {
  test.each([
    ['0', 0],
    ['137', 137],
    ['255\n', 255],
    ['-1', undefined],
    ['256', undefined],
    ['', undefined],
    ['7x', undefined],
  ])('the exit file %j means %s', (text, code) => {
    expect(parseExitCode(text)).toBe(code);
  });

  test('OOM kills are counted on v1 and on v2', () => {
    expect(parseOomKills('oom_kill_disable 0\nunder_oom 0\noom_kill 2\n')).toBe(2);
    expect(parseOomKills('low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n')).toBe(1);
    expect(parseOomKills('low 0\noom 3\noom_kill 0\n')).toBe(0);
    expect(parseOomKills('')).toBe(0);
  });

  test.each(['', '{', 'null', '{"pid":0,"monitorPid":1,"started":true}', '{"pid":1,"monitorPid":2}'])(
    'the record %j is none',
    (text) => {
      expect(parseRecord(text)).toBeUndefined();
    },
  );

  test('a record without start times is one of processes that had ended', () => {
    expect(parseRecord('{"pid":5,"monitorPid":4,"startTime":"77","started":true}')).toEqual({
      pid: 5,
      monitorPid: 4,
      startTime: 77n,
      monitorStartTime: undefined,
      started: true,
    });
  });
});

describe('cgroups', () => {
  test('the monitor is beside the container, never in the cgroup of the pod', () => {
    expect(monitorCgroup('/kubepods/pod1/abc', 'abc')).toBe('/kubepods/pod1/cairn-conmon-abc');
  });

  test('a container without a parent is below the root', () => {
    expect(monitorCgroup(containerCgroup('/abc'), 'abc')).toBe('/cairn-conmon-abc');
  });

  test.each(['abc', '/', '/a/../b/c', '/a//b', '/a/b/', ''])('%j is refused', (path) => {
    expect(() => containerCgroup(path)).toThrow('/PARENT/ID');
  });

  test('the systemd form is the scope that systemd makes in the slice', () => {
    expect(containerCgroup('a-pod.slice:cairn:abc')).toBe('/a.slice/a-pod.slice/cairn-abc.scope');
    expect(monitorCgroup('/a.slice/a-pod.slice/cairn-abc.scope', 'abc')).toBe(
      '/a.slice/a-pod.slice/cairn-conmon-abc.scope',
    );
  });
});

describe('the arguments of conmon', () => {
  const spec: TaskSpec = {
    id: 'abc',
    runtime: { name: 'runc', path: '/usr/sbin/runc', rootDirectory: '/run/r' },
    bundle: '/run/b',
    logPath: undefined,
    logSizeBytesMax: undefined,
    stdin: true,
    stdinOnce: false,
    terminal: false,
    cgroupsPath: '/a/abc',
  };
  const args = (change: Partial<TaskSpec>) => conmonArguments({ ...spec, ...change }, taskPaths('/run/s', 'abc'));

  test('keep stdin open for the next client unless it is for one only', () => {
    expect(args({})).toEqual(expect.arrayContaining(['--stdin', '--leave-stdin-open']));
    expect(args({ stdinOnce: true })).not.toContain('--leave-stdin-open');
    expect(args({ stdin: false })).not.toContain('--stdin');
  });

  test('name the log, or none', () => {
    expect(args({})).toContain('none:');
    expect(args({ logPath: '/l/0.log', logSizeBytesMax: 10, terminal: true })).toEqual(
      expect.arrayContaining(['k8s-file:/l/0.log', '--log-size-max', '10', '--terminal']),
    );
  });
});

test.each(['', '..', 'x.y', '-x', 'a/b', 'a b', 'a\0', 'x'.repeat(129)])('%j is no task ID', (id) => {
  expect(() => checkTaskId(id)).toThrow('not a task ID');
});
