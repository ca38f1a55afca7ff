import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseChallenges } from '../../../src/registry/challenge.ts';

describe('WWW-Authenticate', () => {
  const table: readonly (readonly [string, unknown])[] = [
    ['Basic realm="x"', [{ scheme: 'basic', parameters: { realm: 'x' } }]],
    ['Basic', [{ scheme: 'basic', parameters: {} }]],
    [
      'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"',
      [
        {
          scheme: 'bearer',
          parameters: {
            realm: 'https://auth.example/token',
            service: 'registry.example',
            scope: 'repository:a/b:pull,push',
          },
        },
      ],
    ],
    [
      'bearer REALM = "a\\"b\\\\c" , Service=plain',
      [{ scheme: 'bearer', parameters: { realm: 'a"b\\c', service: 'plain' } }],
    ],
    [
      'Negotiate abc/+12==, Basic realm="x", Bearer realm="y"',
      [
        { scheme: 'negotiate', parameters: {} },
        { scheme: 'basic', parameters: { realm: 'x' } },
        { scheme: 'bearer', parameters: { realm: 'y' } },
      ],
    ],
    [
      'Negotiate, Basic realm=""',
      [
        { scheme: 'negotiate', parameters: {} },
        { scheme: 'basic', parameters: { realm: '' } },
      ],
    ],
    [', ,Basic realm="x",', [{ scheme: 'basic', parameters: { realm: 'x' } }]],
    ['Bearer realm="a", realm="b"', [{ scheme: 'bearer', parameters: { realm: 'a' } }]],
    ['Bearer realm="unterminated', [{ scheme: 'bearer', parameters: {} }]],
    ['"nonsense"', []],
    ['', []],
  ];
  test.each(table)('%j is read', (header, challenges) => {
    expect(parseChallenges(header)).toEqual(challenges);
  });

  test('a parameter can not reach the prototype', () => {
    const [challenge] = parseChallenges('Bearer __proto__="x", constructor="y", realm="z"');
    expect(challenge?.parameters['realm']).toBe('z');
    expect(Object.getPrototypeOf(challenge?.parameters)).toBe(Object.prototype);
  });

  test('whatever the header is, reading ends', () => {
    const piece = fc.constantFrom('a', ' ', ',', '=', '"', '\\', 'Bearer ', 'realm=', '\t', 'é', '==');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 40 }), (pieces) => {
        parseChallenges(pieces.join(''));
      }),
    );
  });
});
