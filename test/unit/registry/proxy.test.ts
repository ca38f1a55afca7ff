import { describe, expect, test } from '@jest/globals';
import { proxyFor } from '../../../src/registry/proxy.ts';

const both = { HTTP_PROXY: 'http://plain.proxy:3128', HTTPS_PROXY: 'tls.proxy:3129' };

describe('the proxy of a request', () => {
  const table: readonly (readonly [string, NodeJS.ProcessEnv, string | undefined])[] = [
    ['https://a.example/', both, 'tls.proxy:3129'],
    ['http://a.example/', both, 'plain.proxy:3128'],
    ['https://a.example/', { https_proxy: 'http://lower.proxy:1' }, 'lower.proxy:1'],
    ['https://a.example/', { HTTP_PROXY: 'http://plain.proxy:3128' }, undefined],
    ['http://127.0.0.1:5000/', both, undefined],
    ['http://[::1]:5000/', both, undefined],
    ['https://localhost/', both, undefined],
    ['https://a.example/', { ...both, NO_PROXY: '*' }, undefined],
    ['https://a.example/', { ...both, NO_PROXY: 'b.example, a.example' }, undefined],
    ['https://sub.a.example/', { ...both, no_proxy: 'a.example' }, undefined],
    ['https://sub.a.example/', { ...both, NO_PROXY: '.a.example' }, undefined],
    ['https://a.example/', { ...both, NO_PROXY: '.a.example' }, 'tls.proxy:3129'],
    ['https://xa.example/', { ...both, NO_PROXY: 'a.example' }, 'tls.proxy:3129'],
    ['https://a.example:5000/', { ...both, NO_PROXY: 'a.example:5000' }, undefined],
    ['https://a.example/', { ...both, NO_PROXY: 'a.example:5000' }, 'tls.proxy:3129'],
    ['https://10.1.2.3/', { ...both, NO_PROXY: '10.0.0.0/8' }, undefined],
    ['https://11.1.2.3/', { ...both, NO_PROXY: '10.0.0.0/8' }, 'tls.proxy:3129'],
    ['https://10.1.2.3:5000/', { ...both, NO_PROXY: '10.1.2.3' }, undefined],
    ['https://[fd00::5]/', { ...both, NO_PROXY: 'fd00::/8' }, undefined],
    ['https://[fd00::5]/', { ...both, NO_PROXY: 'fd00::5' }, undefined],
  ];
  test.each(table)('to %s with %j', (url, environment, proxy) => {
    expect(proxyFor(new URL(url), environment)?.host).toBe(proxy);
  });

  test('that is no address is an error without its password', () => {
    const environment = { HTTPS_PROXY: 'ftp://user:secret@proxy' };
    expect(() => proxyFor(new URL('https://a.example/'), environment)).toThrow(/^HTTPS_PROXY is not/);
    expect(() => proxyFor(new URL('https://a.example/'), environment)).not.toThrow(/secret/);
  });
});
