import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatReference, parseReference } from '../../../src/registry/index.ts';

const SHA256 = `sha256:${'a1'.repeat(32)}`;
const SHA512 = `sha512:${'b2'.repeat(64)}`;

describe('an image name', () => {
  const accepted: readonly (readonly [string, string])[] = [
    ['alpine', 'docker.io/library/alpine:latest'],
    ['alpine:3.20', 'docker.io/library/alpine:3.20'],
    ['grafana/loki', 'docker.io/grafana/loki:latest'],
    ['docker.io/alpine', 'docker.io/library/alpine:latest'],
    ['docker.io/library/alpine', 'docker.io/library/alpine:latest'],
    ['index.docker.io/alpine:1', 'docker.io/library/alpine:1'],
    ['index.docker.io/a/b', 'docker.io/a/b:latest'],
    ['localhost/app', 'localhost/app:latest'],
    ['localhost:5000', 'docker.io/library/localhost:5000'],
    ['localhost:5000/app', 'localhost:5000/app:latest'],
    ['registry:5000/app:v1', 'registry:5000/app:v1'],
    ['registry/app:v1', 'docker.io/registry/app:v1'],
    ['registry.example/a/b/c:v1', 'registry.example/a/b/c:v1'],
    ['Registry/app', 'Registry/app:latest'],
    ['127.0.0.1:5000/app', '127.0.0.1:5000/app:latest'],
    ['[::1]:5000/app:v1', '[::1]:5000/app:v1'],
    ['[2001:db8::1]/app', '[2001:db8::1]/app:latest'],
    [`alpine@${SHA256}`, `docker.io/library/alpine@${SHA256}`],
    [`alpine:3@${SHA256}`, `docker.io/library/alpine:3@${SHA256}`],
    [`registry:5000/app@${SHA512}`, `registry:5000/app@${SHA512}`],
    ['a_b/c__d/e--f/g.h:T_a.g-1', 'docker.io/a_b/c__d/e--f/g.h:T_a.g-1'],
    [`x.io/${'a'.repeat(255)}`, `x.io/${'a'.repeat(255)}:latest`],
    [`app:${'t'.repeat(128)}`, `docker.io/library/app:${'t'.repeat(128)}`],
  ];
  test.each(accepted)('%s means %s', (text, whole) => {
    const reference = parseReference(text);
    expect(formatReference(reference)).toBe(whole);
    expect(parseReference(whole)).toEqual(reference);
    expect(reference.name).toBe(`${reference.host}/${reference.repository}`);
  });

  const refused: readonly (readonly [string, RegExp])[] = [
    ['', /empty/],
    [' alpine', /white space/],
    ['https://docker.io/alpine', /leave the scheme/],
    ['Alpine', /must be lower case: alpine/],
    ['docker.io/Library/alpine', /must be lower case: library\/alpine/],
    ['f'.repeat(64), /image ID/],
    ['alpine@sha256:abc', /not a sha256 or sha512 digest/],
    [`alpine@${SHA256.toUpperCase()}`, /not a sha256/],
    [`alpine@md5:${'a'.repeat(32)}`, /not a sha256/],
    [`alpine@${SHA256}@${SHA256}`, /not a sha256/],
    ['alpine:', /the tag ""/],
    ['alpine:.a', /the tag/],
    ['alpine:a/b', /not a registry host|the tag/],
    [`alpine:${'t'.repeat(129)}`, /the tag/],
    ['a//b', /may hold/],
    ['/a', /registry host|may hold/],
    ['a/', /may hold/],
    ['a___b', /may hold/],
    ['a..b/c', /not a registry host/],
    ['-a.io/b', /not a registry host/],
    ['registry:port/app', /not a registry host/],
    ['::1/app', /not a registry host/],
    ['a/../b', /may hold/],
    ['a/-b', /may hold/],
    [`x.io/${'a'.repeat(256)}`, /longer than 255/],
    [`x.io/${'a/'.repeat(1000)}a`, /longer than 1024/],
    ['alpine\u0000', /may hold/],
  ];
  test.each(refused)('%j is refused with a reason', (text, reason) => {
    expect(() => parseReference(text)).toThrow(expect.objectContaining({ kind: 'InvalidArgument' }));
    expect(() => parseReference(text)).toThrow(reason);
  });

  test('whatever the text is, it is a reference that reads back as itself, or InvalidArgument', () => {
    const part = fc.constantFrom(
      'a',
      'B',
      '0',
      '.',
      ':',
      '/',
      '@',
      '_',
      '-',
      '[',
      ']',
      'localhost',
      'docker.io',
      SHA256,
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        try {
          const reference = parseReference(parts.join(''));
          expect(parseReference(formatReference(reference))).toEqual(reference);
        } catch (error) {
          expect(error).toMatchObject({ kind: 'InvalidArgument' });
        }
      }),
      { numRuns: 500 },
    );
  });
});
