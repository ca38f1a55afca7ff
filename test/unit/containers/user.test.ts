import { describe, expect, test } from '@jest/globals';
import { resolveUser } from '../../../src/containers/spec/user.ts';
import { security } from '../../fixtures/pod-configs.ts';

const database = {
  passwd: [
    'root:x:0:0:root:/root:/bin/sh',
    '# a comment: with: colons:here',
    'broken line',
    'app:x:1000:1001:App:/home/app:/bin/sh',
    'other:x:2000:2000::/:/bin/false',
    'huge:x:99999999999:1::/:/bin/false',
  ].join('\n'),
  group: 'root:x:0:\nstaff:x:50:app,other\nvideo:x:44:app\napp:x:1001:\n',
};
const resolve = (changes: object, imageUser = '') => resolveUser({ ...security, ...changes }, imageUser, database);

describe('the user of a container', () => {
  test.each([
    ['nobody asks for one: root', {}, '', { uid: 0, gid: 0, additionalGids: [0] }],
    ['the image names a user', {}, 'app', { uid: 1000, gid: 1001, additionalGids: [1001, 50, 44] }],
    ['the image gives a number that is known', {}, '1000', { uid: 1000, gid: 1001, additionalGids: [1001, 50, 44] }],
    ['the image gives a number that is unknown', {}, '4711', { uid: 4711, gid: 0, additionalGids: [0] }],
    ['the image names user and group', {}, 'app:video', { uid: 1000, gid: 44, additionalGids: [44, 50] }],
    ['the image gives two numbers', {}, '12:34', { uid: 12, gid: 34, additionalGids: [34] }],
    ['the image leaves the group empty', {}, 'app:', { uid: 1000, gid: 1001, additionalGids: [1001, 50, 44] }],
    [
      'the caller gives a number over the image',
      { runAsUser: 2000 },
      'app:video',
      { uid: 2000, gid: 2000, additionalGids: [2000, 50] },
    ],
    ['the caller asks for root over the image', { runAsUser: 0 }, 'app', { uid: 0, gid: 0, additionalGids: [0] }],
    ['the caller gives a name', { runAsUsername: 'app' }, '', { uid: 1000, gid: 1001, additionalGids: [1001, 50, 44] }],
    [
      'the caller gives a group',
      { runAsUser: 1000, runAsGroup: 7 },
      '',
      { uid: 1000, gid: 7, additionalGids: [7, 50, 44] },
    ],
    [
      'groups are merged',
      { runAsUser: 1000, supplementalGroups: [50, 99] },
      '',
      { uid: 1000, gid: 1001, additionalGids: [1001, 50, 44, 99] },
    ],
    [
      'the strict policy leaves the image out',
      { runAsUser: 1000, supplementalGroups: [99], supplementalGroupsPolicy: 'strict' },
      '',
      { uid: 1000, gid: 1001, additionalGids: [1001, 99] },
    ],
  ])('%s', (_name, changes, imageUser, expected) => {
    expect(resolve(changes, imageUser)).toEqual(expected);
  });

  test.each([
    ['an unknown user name', { runAsUsername: 'ghost' }, ''],
    ["an unknown user of the image's", {}, 'ghost'],
    ['an unknown group', {}, 'app:ghosts'],
    ['a group without a user', { runAsGroup: 5 }, ''],
    ['a number that is no user ID', {}, '99999999999'],
  ])('%s is refused', (_name, changes, imageUser) => {
    expect(() => resolve(changes, imageUser)).toThrow(expect.objectContaining({ kind: 'InvalidArgument' }));
  });

  test('an image without /etc/passwd runs as any number', () => {
    const user = resolveUser({ ...security, runAsUser: 5 }, '', { passwd: '', group: '' });
    expect(user).toEqual({ uid: 5, gid: 0, additionalGids: [0] });
  });
});
