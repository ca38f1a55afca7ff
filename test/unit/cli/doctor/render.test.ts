import { describe, expect, test } from '@jest/globals';
import { type Check, subject } from '../../../../src/cli/doctor/check.ts';
import { renderChecks } from '../../../../src/cli/doctor/render.ts';

const good = subject('a.good', 'reason of good').ok('all is well');
const poor = subject('b.poor', 'reason of poor').warning('could be better', 'do this');
const bad = subject('c.bad-one', 'reason of bad').failed('is broken', 'do that');
const render = (checks: readonly Check[], width = 100) => renderChecks(checks, { colours: false, width });

describe('checks for people', () => {
  test('are aligned, with why for each and a fix where something is to be done', () => {
    expect(render([good, poor, bad])).toBe(
      [
        'ok       a.good     all is well',
        '                    why: reason of good',
        'warning  b.poor     could be better',
        '                    why: reason of poor',
        '                    fix: do this',
        'failed   c.bad-one  is broken',
        '                    why: reason of bad',
        '                    fix: do that',
        '',
        '3 checks: 1 ok, 1 warning, 1 failed: this host is not ready for Cairn',
        '',
      ].join('\n'),
    );
  });

  test('end in a good verdict when none failed', () => {
    expect(render([good, poor, poor])).toMatch(/3 checks: 1 ok, 2 warnings, 0 failed: this host can run Cairn\n$/);
  });

  test('have colours only where asked for, and the columns stay where they are', () => {
    const coloured = renderChecks([good, bad], { colours: true, width: 100 });
    expect(coloured).toContain('\u001b[32mok\u001b[0m       a.good');
    expect(coloured).toContain('\u001b[31mfailed\u001b[0m   c.bad-one');
    expect(render([good, bad])).not.toContain('\u001b');
  });

  test('break long lines under their column and leave a long word whole', () => {
    const word = `/${'x'.repeat(90)}`;
    const lines = render(
      [subject('a', 'why').failed(`one two three four five six seven eight nine ten eleven ${word}`, 'go')],
      60,
    );
    expect(lines.split('\n').slice(0, 3)).toEqual([
      'failed   a  one two three four five six seven eight nine ten',
      '            eleven',
      `            ${word}`,
    ]);
  });
});
