import { describe, expect, test } from '@jest/globals';
import { findImage, nameOf } from '../../../src/images/find.ts';
import { parseReference } from '../../../src/registry/index.ts';

const one = `sha256:abcd${'1'.repeat(60)}`;
const two = `sha256:abce${'2'.repeat(60)}`;
const shared = `sha256:cafe${'3'.repeat(60)}`;
const top = `sha256:${'f'.repeat(64)}`;
const index = {
  ids: [one, two, shared],
  names: new Map([
    ['docker.io/library/alpine:latest', one],
    [`docker.io/library/alpine@${top}`, one],
    ['docker.io/library/abce:latest', shared],
    ['localhost:5000/team/app:v1', two],
  ]),
};
const idOf = (text: string) => findImage(index, text)?.id;

describe('finding an image', () => {
  test('names are normalised as Docker does', () => {
    for (const text of ['alpine', 'alpine:latest', 'library/alpine', 'docker.io/library/alpine:latest']) {
      expect(findImage(index, text)).toEqual({ id: one, name: 'docker.io/library/alpine:latest' });
    }
    expect(idOf('localhost:5000/team/app:v1')).toBe(two);
    expect(idOf('localhost:5000/team/app')).toBeUndefined();
  });

  test('a digest decides, whatever tag stands beside it', () => {
    expect(findImage(index, `alpine@${top}`)).toEqual({ id: one, name: `docker.io/library/alpine@${top}` });
    expect(idOf(`alpine:3.20@${top}`)).toBe(one);
    expect(idOf(`alpine@${one}`)).toBeUndefined();
  });

  test('an ID is found whole, as hex, and by an unambiguous beginning', () => {
    expect(findImage(index, one)).toEqual({ id: one, name: undefined });
    expect(idOf(one.slice(7))).toBe(one);
    expect(idOf('abcd1')).toBe(one);
    expect(idOf('sha256:abcd')).toBe(one);
    expect(idOf('cafe')).toBe(shared);
    expect(idOf('abc')).toBeUndefined();
    expect(idOf('sha512:abcd')).toBeUndefined();
    expect(idOf('0'.repeat(64))).toBeUndefined();
  });

  test('a name comes before the beginning of an ID', () => {
    expect(findImage(index, 'abce')).toEqual({ id: shared, name: 'docker.io/library/abce:latest' });
  });

  test('an ambiguous beginning and a text that can be nothing are InvalidArgument', () => {
    const twins = { names: new Map(), ids: [one, `sha256:abcd${'9'.repeat(60)}`] };
    expect(() => findImage(twins, 'abcd')).toThrow(expect.objectContaining({ kind: 'InvalidArgument' }));
    expect(() => findImage(index, 'UPPER CASE')).toThrow(expect.objectContaining({ kind: 'InvalidArgument' }));
  });

  test('the name of a pull is the tag, or the digest where there is one', () => {
    expect(nameOf(parseReference('alpine'))).toBe('docker.io/library/alpine:latest');
    expect(nameOf(parseReference(`alpine:3@${top}`))).toBe(`docker.io/library/alpine@${top}`);
  });
});
