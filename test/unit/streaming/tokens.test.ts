import { describe, expect, test } from '@jest/globals';
import { TokenTable } from '../../../src/streaming/tokens.ts';

function table(options: { tokensMax?: number } = {}) {
  const clock = { now: 0 };
  const tokens = new TokenTable<string>({ lifetimeMs: 60_000, now: () => clock.now, ...options });
  return { clock, tokens };
}

describe('a token', () => {
  test('is good once', () => {
    const { tokens } = table();
    const token = tokens.issue('exec');
    expect([tokens.redeem(token), tokens.redeem(token)]).toEqual(['exec', undefined]);
  });

  test('has 256 random bits and only characters of a path', () => {
    const { tokens } = table();
    expect(tokens.issue('a')).toMatch(/^[\w-]{43}$/);
    expect(tokens.issue('a')).not.toBe(tokens.issue('a'));
  });

  test('is good for its time and not longer', () => {
    const { tokens, clock } = table();
    const [first, second] = [tokens.issue('first'), tokens.issue('second')];
    clock.now = 59_999;
    expect(tokens.redeem(first)).toBe('first');
    clock.now = 60_000;
    expect(tokens.redeem(second)).toBeUndefined();
  });

  test('is refused while too many wait, until the oldest are over', () => {
    const { tokens, clock } = table({ tokensMax: 2 });
    tokens.issue('1');
    clock.now = 10_000;
    tokens.issue('2');
    expect(() => tokens.issue('3')).toThrow(expect.objectContaining({ kind: 'ResourceExhausted' }));
    clock.now = 60_000;
    expect(tokens.redeem(tokens.issue('3'))).toBe('3');
  });
});
