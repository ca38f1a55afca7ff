import { describe, expect, test } from '@jest/globals';
import { buildCapabilities, CAPABILITIES } from '../../../src/containers/spec/capabilities.ts';
import { capabilitiesOf } from '../../../src/containers/spec/host-facts.ts';
import { security } from '../../fixtures/pod-configs.ts';

const build = (changes: object, held: readonly string[] = CAPABILITIES) =>
  buildCapabilities({ ...security, ...changes }, held);

describe('capabilities', () => {
  test('by default are the customary fourteen, none of them inheritable', () => {
    const sets = build({});
    expect(sets.bounding).toHaveLength(14);
    expect(sets.effective).toEqual(sets.bounding);
    expect(sets.permitted).toEqual(sets.bounding);
    expect(sets.bounding).not.toContain('CAP_SYS_ADMIN');
    expect([sets.inheritable, sets.ambient]).toEqual([[], []]);
  });

  test.each([
    [
      'add one, in any spelling',
      { addCapabilities: ['net_admin', 'CAP_SYS_TIME'] },
      16,
      ['CAP_NET_ADMIN', 'CAP_SYS_TIME'],
    ],
    ['drop one', { dropCapabilities: ['KILL'] }, 13, []],
    ['drop all', { dropCapabilities: ['ALL'] }, 0, []],
    ['drop all, add one', { dropCapabilities: ['ALL'], addCapabilities: ['CHOWN'] }, 1, ['CAP_CHOWN']],
    ['add all', { addCapabilities: ['all'] }, CAPABILITIES.length, ['CAP_SYS_ADMIN']],
    ['add all, drop one', { addCapabilities: ['ALL'], dropCapabilities: ['SYS_ADMIN'] }, CAPABILITIES.length - 1, []],
    ['privileged ignores what is dropped', { privileged: true, dropCapabilities: ['ALL'] }, CAPABILITIES.length, []],
  ])('%s', (_name, changes, count, contained) => {
    const { bounding } = build(changes);
    expect(bounding).toHaveLength(count);
    expect(bounding).toEqual(expect.arrayContaining(contained));
  });

  test('ambient ones are in every set', () => {
    const sets = build({ dropCapabilities: ['ALL'], addAmbientCapabilities: ['NET_BIND_SERVICE'] });
    const expected = ['CAP_NET_BIND_SERVICE'];
    expect(sets).toEqual({
      ...{ bounding: expected, effective: expected, permitted: expected, inheritable: expected, ambient: expected },
    });
  });

  test('all means all that the daemon has', () => {
    expect(build({ addCapabilities: ['ALL'] }, ['CAP_CHOWN', 'CAP_KILL']).bounding).toEqual(['CAP_CHOWN', 'CAP_KILL']);
    expect(build({ privileged: true }, ['CAP_KILL']).bounding).toEqual(['CAP_KILL']);
  });

  test('one that the daemon has not is refused when named, left out as a default', () => {
    expect(build({}, ['CAP_KILL']).bounding).toEqual(['CAP_KILL']);
    expect(() => build({ addCapabilities: ['SYS_TIME'] }, ['CAP_KILL'])).toThrow(
      expect.objectContaining({ kind: 'FailedPrecondition', message: expect.stringContaining('CAP_SYS_TIME') }),
    );
  });

  test.each([['addCapabilities'], ['dropCapabilities'], ['addAmbientCapabilities']])(
    'an unknown name in %s',
    (field) => {
      expect(() => build({ [field]: ['FLY'] })).toThrow(expect.objectContaining({ kind: 'InvalidArgument' }));
    },
  );

  test('are read from the status of a process', () => {
    expect(capabilitiesOf('CapPrm:\t0000000000000021\nCapBnd:\t00000000000000a1\n')).toEqual(['CAP_CHOWN', 'CAP_KILL']);
  });
});
