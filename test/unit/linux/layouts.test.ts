import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseStatx, timespecs } from '../../../src/linux/at.ts';
import { commonDirectory } from '../../../src/linux/overlay-mount.ts';
import { chooseFileLimit, RLIM_INFINITY } from '../../../src/linux/rlimits.ts';

describe('times for the kernel', () => {
  test('are seconds and nanoseconds, the latter never negative', () => {
    const [whole, before] = [timespecs(1_500_000_000n, 0n), timespecs(-1n, -1_000_000_000n)];
    expect([whole.readBigInt64LE(0), whole.readBigInt64LE(8)]).toEqual([1n, 500_000_000n]);
    expect([before.readBigInt64LE(0), before.readBigInt64LE(8)]).toEqual([-1n, 999_999_999n]);
    expect([before.readBigInt64LE(16), before.readBigInt64LE(24)]).toEqual([-1n, 0n]);
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 62n), max: 2n ** 62n }), (ns) => {
        const buffer = timespecs(0n, ns);
        expect(buffer.readBigInt64LE(16) * 1_000_000_000n + buffer.readBigInt64LE(24)).toBe(ns);
      }),
    );
  });
});

describe('struct statx', () => {
  test('fields lie where linux/stat.h has them', () => {
    const bytes = Buffer.alloc(256);
    bytes.writeUInt32LE(3, 16);
    bytes.writeUInt32LE(1000, 20);
    bytes.writeUInt32LE(1001, 24);
    bytes.writeUInt16LE(0o100644, 28);
    bytes.writeBigUInt64LE(2n ** 60n, 32);
    bytes.writeBigUInt64LE(5n, 40);
    bytes.writeBigInt64LE(-1n, 112);
    bytes.writeUInt32LE(999_999_999, 120);
    bytes.writeUInt32LE(1, 128);
    bytes.writeUInt32LE(3, 132);
    expect(parseStatx(bytes)).toMatchObject({
      links: 3,
      uid: 1000,
      gid: 1001,
      mode: 0o100644,
      inode: 2n ** 60n,
      sizeBytes: 5n,
      modificationNs: -1n,
      device: 0x103n,
    });
  });
});

describe('the common directory of layers', () => {
  test.each([
    [['/a/b/1/fs', '/a/b/2/fs'], '/a/b'],
    [['/a/b/1/fs', '/a/b/1/fs'], '/a/b/1'],
    [['/a/b', '/a/bc'], '/a'],
    [['/x', '/y/z'], ''],
    [['/only/one'], '/only'],
  ])('of %j', (paths, expected) => {
    expect(commonDirectory(paths)).toBe(expected);
  });
});

describe('the descriptor limit of children', () => {
  const hard = 524288n;
  const current = { soft: hard, hard };
  const process = (soft: bigint, isNode = false, itsHard = hard) => ({ isNode, limit: { soft, hard: itsHard } });
  const choose = (passedOn: string | undefined, ...ancestors: ReturnType<typeof process>[]) =>
    chooseFileLimit({ current, passedOn, ancestors });

  test('is what the launcher passed on, within the hard limit', () => {
    expect(choose('4096', process(1n))).toEqual({ soft: 4096n, hard });
    expect(choose('unlimited').soft).toBe(hard);
    expect(choose('99999999999').soft).toBe(hard);
    const unlimited = { soft: 5n, hard: RLIM_INFINITY };
    expect(chooseFileLimit({ current: unlimited, passedOn: 'unlimited', ancestors: [] }).soft).toBe(RLIM_INFINITY);
  });

  test.each([
    ['of the shell that started us', [process(2048n)], 2048n],
    ['of a shell that has all there is, below a login that has less', [process(hard), process(1024n)], hard],
    [
      'of the shell above npm, which raised it for the shell between',
      [process(hard), process(hard, true), process(4000n)],
      4000n,
    ],
    ['set by a shell below npm', [process(300n), process(hard, true), process(4000n)], 300n],
    ['1024 below another hard limit', [process(2048n, false, 99n)], 1024n],
    ['1024 when only Node is above', [process(hard, true), process(hard, true)], 1024n],
    ['1024 when nothing is known', [], 1024n],
  ])('else is the one %s', (_, ancestors, expected) => {
    expect(choose(undefined, ...ancestors).soft).toBe(expected);
    expect(choose('nonsense', ...ancestors).soft).toBe(expected);
  });

  test('is never above the hard limit', () => {
    expect(chooseFileLimit({ current: { soft: 512n, hard: 512n }, passedOn: undefined, ancestors: [] }).soft).toBe(
      512n,
    );
  });
});
