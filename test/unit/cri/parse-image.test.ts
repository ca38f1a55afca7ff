import { describe, expect, test } from '@jest/globals';
import { parseCredentials } from '../../../src/cri/parse-image.ts';
import { AuthConfig, type IAuthConfig } from '../../../src/generated/cri.js';
import { refusal } from './requests.ts';

const credentials = (auth: IAuthConfig) => parseCredentials(AuthConfig.decode(AuthConfig.encode(auth).finish()));
const base64 = (text: string) => Buffer.from(text).toString('base64');

describe('credentials of a pull', () => {
  test.each<[IAuthConfig, object | undefined]>([
    [{}, undefined],
    [{ serverAddress: 'r.example' }, undefined],
    [
      { username: 'u', password: 'p' },
      { username: 'u', password: 'p' },
    ],
    [{ auth: base64('u:p:q') }, { username: 'u', password: 'p:q' }],
    [{ auth: base64('u:p\0\0') }, { username: 'u', password: 'p' }],
    [{ auth: base64('u:') }, { username: 'u' }],
    [
      { username: 'u', password: 'p', auth: base64('other:x') },
      { username: 'u', password: 'p' },
    ],
    [
      { identityToken: 't', serverAddress: 'r' },
      { identityToken: 't', serverAddress: 'r' },
    ],
    [{ registryToken: 't' }, { registryToken: 't' }],
  ])('%j mean %j', (auth, expected) => {
    expect(credentials(auth)).toEqual(expected);
  });

  test.each(['%%%', base64('nocolon'), base64(':p')])('in a text like %j are refused without repeating it', (auth) => {
    expect(refusal(() => credentials({ auth }))).toBe('InvalidArgument: auth.auth: is not username:password in base64');
  });

  test('need not be there', () => {
    expect(parseCredentials(null)).toBeUndefined();
  });
});
