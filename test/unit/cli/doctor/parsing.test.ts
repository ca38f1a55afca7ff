import { describe, expect, test } from '@jest/globals';
import { checkLayout } from '../../../../src/cli/doctor/cgroups.ts';
import { checkBootId, checkTime } from '../../../../src/cli/doctor/clock.ts';
import { checkInodes, checkSpace } from '../../../../src/cli/doctor/disk.ts';
import { checkIdmappedMounts, checkVersion } from '../../../../src/cli/doctor/kernel.ts';
import {
  checkCapabilities,
  checkResource,
  checkUser,
  effectiveCapabilities,
} from '../../../../src/cli/doctor/privileges.ts';
import { parseFeatures } from '../../../../src/cli/doctor/runtimes.ts';
import { isAtLeast, parseVersion } from '../../../../src/cli/doctor/version.ts';

const GIB = 1024 ** 3;

describe('a version', () => {
  test.each([
    ['runc version 1.1.5+ds1', [1, 1, 5]],
    ['conmon version 2.1.6', [2, 1, 6]],
    ['6.18-rc1', [6, 18, 0]],
    ['unknown', undefined],
  ])('is read from %j', (text, version) => {
    expect(parseVersion(text)).toEqual(version);
  });

  test('is compared part by part, as numbers', () => {
    expect(isAtLeast([1, 10, 0], [1, 9, 5])).toBe(true);
    expect(isAtLeast([1, 9, 5], [1, 9, 5])).toBe(true);
    expect(isAtLeast([1, 9, 4], [1, 9, 5])).toBe(false);
    expect(isAtLeast([0, 99, 99], [1, 0, 0])).toBe(false);
  });
});

describe('what was found on a host', () => {
  test.each([
    ['a kernel with pidfd', checkVersion('5.15.0-91-generic'), 'ok'],
    ['a kernel without pidfd', checkVersion('4.19.0'), 'failed'],
    ['a kernel with ID-mapped overlays', checkIdmappedMounts('6.1.0'), 'ok'],
    ['a kernel without ID-mapped overlays', checkIdmappedMounts('5.15.0'), 'warning'],
    ['cgroup v2', checkLayout('v2'), 'ok'],
    ['cgroup v1', checkLayout('v1'), 'warning'],
    ['hybrid cgroups', checkLayout('hybrid'), 'warning'],
    ['no cgroups', checkLayout('none'), 'failed'],
    ['root', checkUser(0), 'ok'],
    ['another user', checkUser(1000), 'failed'],
    ['every capability', checkCapabilities((1n << 41n) - 1n), 'ok'],
    ['no CAP_SYS_ADMIN', checkCapabilities(((1n << 41n) - 1n) & ~(1n << 21n)), 'failed'],
    ['no CAP_SYS_RESOURCE', checkResource(((1n << 41n) - 1n) & ~(1n << 24n)), 'warning'],
    ['room', checkSpace('/r', 50 * GIB, 100 * GIB), 'ok'],
    ['little room', checkSpace('/r', 5 * GIB, 100 * GIB), 'warning'],
    ['no room', checkSpace('/r', GIB / 2, 100 * GIB), 'failed'],
    ['inodes', checkInodes('/r', 50, 100), 'ok'],
    ['few inodes', checkInodes('/r', 5, 100), 'warning'],
    ['no inodes', checkInodes('/r', 0, 100), 'failed'],
    ['a file system that makes inodes as needed', checkInodes('/r', 0, 0), 'ok'],
    ['a clock that was never set', checkTime(0), 'failed'],
    ['a boot ID', checkBootId('9c261110-3dbe-4a8a-a84c-f5c68f5ae2e7'), 'ok'],
    ['no boot ID', checkBootId(undefined), 'failed'],
  ])('%s is judged', (_, check, status) => {
    expect(check.status).toBe(status);
    expect(check.why).not.toBe('');
    expect(check.fix === '').toBe(status === 'ok');
  });

  test('capabilities are the effective ones', () => {
    expect(effectiveCapabilities('CapPrm:\t00000000000000ff\nCapEff:\t000001fffeffffff\n')).toBe(0x1fffeffffffn);
    expect(effectiveCapabilities('')).toBe(0n);
  });

  test.each([
    ['{"linux":{"seccomp":{"enabled":true},"mountExtensions":{"idmap":{"enabled":true}}}}', true, true],
    ['{"linux":{"seccomp":{"enabled":true}}}', true, false],
    ['{}', false, false],
  ])('the features of a runtime are read from %s', (text, seccomp, idmappedMounts) => {
    expect(parseFeatures(text)).toEqual({ seccomp, idmappedMounts });
  });

  test('a runtime that answers no JSON has no features', () => {
    expect(parseFeatures('No help topic for "features"')).toBeUndefined();
  });
});
