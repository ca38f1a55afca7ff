import { status as Grpc } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { CairnError, type ErrorKind } from '../../../src/base/errors.ts';
import { errorOfStatus, statusOfError } from '../../../src/rpc/status.ts';

const NAMES = Object.entries(Grpc).filter(([name, code]) => typeof code === 'number' && name !== 'OK');

describe('an error as a gRPC status', () => {
  test.each(NAMES)('%s has its kind', (name, code) => {
    const kind = name.toLowerCase().replace(/(?:^|_)(\w)/g, (_, letter: string) => letter.toUpperCase()) as ErrorKind;
    expect(statusOfError(new CairnError(kind, 'why'), '7')).toEqual({ code, name: kind, details: 'why' });
    expect(errorOfStatus(code as number, 'why', 'step')).toMatchObject({ kind, message: 'why', step: 'step' });
  });

  test('a code that nobody knows is Unknown', () => {
    expect(errorOfStatus(99, 'why', 'step').kind).toBe('Unknown');
  });

  test('a bug is Internal and shows only the request', () => {
    const status = statusOfError(new TypeError('secret'), '7');
    expect(status).toMatchObject({ code: Grpc.INTERNAL });
    expect(status.details).toMatch(/request 7/);
    expect(status.details).not.toMatch(/secret/);
  });

  test('a failed system call is Internal and says which', () => {
    const error = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    expect(statusOfError(error, '7')).toMatchObject({ code: Grpc.INTERNAL, details: error.message });
  });

  test('fits a header: cut when long, and well-formed', () => {
    const { details } = statusOfError(new CairnError('Unknown', '😀'.repeat(4000)), '7');
    expect(details.length).toBeLessThan(4200);
    expect(details).toMatch(/\[cut\]$/);
    expect(() =>
      encodeURI(statusOfError(new CairnError('Unknown', `x${'😀'.repeat(4000)}`), '7').details),
    ).not.toThrow();
  });
});
