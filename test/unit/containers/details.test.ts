import { describe, expect, test } from '@jest/globals';
import { exitedRecord } from '../../../src/containers/exit.ts';
import { containerLogPath } from '../../../src/containers/log-path.ts';
import type { ContainerRecord } from '../../../src/containers/records.ts';
import { endsWithin } from '../../../src/containers/stop.ts';
import { parseSignal, stopSignal } from '../../../src/containers/stop-signal.ts';

describe('the stop signal', () => {
  test.each([
    ['SIGQUIT', 3],
    ['quit', 3],
    ['9', 9],
    ['SIGRTMIN+3', 37],
    ['RTMAX-1', 63],
    ['SIGRTMIN', 34],
    ['', undefined],
    ['0', undefined],
    ['65', undefined],
    ['SIGRTMAX+1', undefined],
    ['SIGNONSENSE', undefined],
  ])('%j is %s', (text, expected) => {
    expect(parseSignal(text)).toBe(expected);
  });

  test("is the caller's, else the image's, else SIGTERM", () => {
    expect(stopSignal(2, 'SIGQUIT')).toBe(2);
    expect(stopSignal(undefined, 'SIGQUIT')).toBe(3);
    expect(stopSignal(undefined, 'junk')).toBe(15);
  });
});

describe('the log path', () => {
  test('lies below the directory of the pod', () => {
    expect(containerLogPath('/logs/pod', 'app/0.log')).toBe('/logs/pod/app/0.log');
    expect(containerLogPath('', 'app/0.log')).toBe('');
    expect(containerLogPath('/logs/pod', '')).toBe('');
  });

  test.each(['../other/0.log', '/etc/passwd', 'a/../../x', '..', 'a/'])('%s is refused', (path) => {
    expect(() => containerLogPath('/logs/pod', path)).toThrow(expect.objectContaining({ kind: 'InvalidArgument' }));
  });
});

describe('the reason of an end', () => {
  test.each([
    [{ exitCode: 0, oomKilled: false }, 'Completed'],
    [{ exitCode: 3, oomKilled: false }, 'Error'],
    [{ exitCode: 137, oomKilled: true }, 'OOMKilled'],
  ])('%j: %s', (exit, reason) => {
    expect(exitedRecord({ startedAtNs: 5n } as ContainerRecord, { ...exit, finishedAtNs: 7n })).toMatchObject({
      state: 'exited',
      reason,
      exitCode: exit.exitCode,
      finishedAtNs: 7n,
      pid: undefined,
    });
  });
});

test('a container that ended before its start was noted did not end before it started', () => {
  const exit = { exitCode: 0, oomKilled: false, finishedAtNs: 7n };
  expect(exitedRecord({ startedAtNs: 9n } as ContainerRecord, exit).finishedAtNs).toBe(9n);
});

describe('waiting for an end', () => {
  const never = new Promise<void>(() => {});
  test('says whether it came in time', async () => {
    await expect(endsWithin(Promise.resolve(), 1000, undefined)).resolves.toBe(true);
    await expect(endsWithin(never, 5, undefined)).resolves.toBe(false);
  });

  test('ends when the caller goes away', async () => {
    const controller = new AbortController();
    const waiting = endsWithin(never, 10_000, controller.signal);
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ kind: 'Cancelled' });
    await expect(endsWithin(never, 10_000, controller.signal)).rejects.toMatchObject({ kind: 'Cancelled' });
  });
});
