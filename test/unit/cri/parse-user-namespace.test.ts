/** User namespaces in requests for pods and containers. */
import { describe, expect, test } from '@jest/globals';
import type { INamespaceOption, IUserNamespace } from '../../../src/generated/cri.js';
import { container, pod, refusal, secureContainer, securePod } from './requests.ts';

const range = { containerId: 0, hostId: 131_072, length: 65_536 };
const own: IUserNamespace = { mode: 0, uids: [range], gids: [range] };
const mapped = (usernsOptions: IUserNamespace = own) => securePod({ namespaceOptions: { pid: 1, usernsOptions } });

describe('the user namespace of a pod', () => {
  test('has the ranges of the request; the node has no ranges, and nothing said means the node', () => {
    expect(mapped().userNamespace).toEqual({ uids: [range], gids: [range] });
    expect(mapped({ mode: 2 }).userNamespace).toBeUndefined();
    expect(pod().userNamespace).toBeUndefined();
  });

  test.each<[IUserNamespace, string]>([
    [{ ...own, uids: [] }, 'uids: needs exactly one mapping, not 0'],
    [{ ...own, gids: [range, range] }, 'gids: needs exactly one mapping, not 2'],
    [{ ...own, uids: [{ ...range, containerId: 1 }] }, 'uids[0].container_id: must be 0'],
    [{ ...own, uids: [{ ...range, length: 0 }] }, 'uids[0].length: must be more than 0'],
    [{ ...own, uids: [{ ...range, hostId: 2 ** 32 - 5 }] }, 'uids[0]: 4294967291 and 65536 more is beyond the last ID'],
    [{ mode: 1 }, 'mode: 1 has no meaning here'],
    [{ mode: 3 }, 'mode: 3 has no meaning here'],
  ])('%j is refused', (usernsOptions, message) => {
    expect(refusal(() => mapped(usernsOptions))).toContain(`namespace_options.userns_options.${message}`);
  });

  test.each(['pid', 'ipc'])("excludes the node's %s namespace", (kind) => {
    const options: INamespaceOption = { pid: 1, usernsOptions: own, [kind]: 2 };
    expect(refusal(() => securePod({ namespaceOptions: options }))).toMatch(
      new RegExp(`^InvalidArgument: .*namespace_options\\.${kind}: NODE can not be had with a user namespace`),
    );
  });
});

describe('a container in a pod with a user namespace', () => {
  test("is in the pod's, whether it says so or not, and in no other", () => {
    const surroundings = { pod: mapped() };
    expect(refusal(() => container({}, surroundings))).toBe('accepted');
    const secured = (usernsOptions: IUserNamespace) =>
      refusal(() => secureContainer({ namespaceOptions: { pid: 1, usernsOptions } }, surroundings));
    expect(secured(own)).toBe('accepted');
    expect(secured({ mode: 2 })).toMatch(/userns_options: is not the pod's/);
    expect(secured({ ...own, uids: [{ ...range, length: 9 }] })).toMatch(/userns_options: is not the pod's/);
    expect(refusal(() => secureContainer({ namespaceOptions: { usernsOptions: own } }))).toMatch(/is not the pod's/);
  });

  test('may see all of /proc, which shows nothing there; elsewhere an empty list hides what is always hidden', () => {
    expect(secureContainer({ maskedPaths: [] }, { pod: mapped() })).toMatchObject({
      maskedPaths: [],
      readonlyPaths: [],
    });
    expect(secureContainer({ maskedPaths: [] }).maskedPaths).toContain('/proc/kcore');
    expect(container({}, { pod: mapped() }).security.maskedPaths).toContain('/proc/kcore');
  });

  test('may have volumes with mapped IDs', () => {
    const mount = { containerPath: '/in', hostPath: '/out', uidMappings: [range], gidMappings: [range] };
    expect(container({ mounts: [mount] }, { pod: mapped() }).mounts[0]?.idMappings).toEqual({
      ...{ uids: [range], gids: [range] },
    });
    expect(refusal(() => container({ mounts: [{ ...mount, gidMappings: [] }] }, { pod: mapped() }))).toMatch(
      /mounts\[0\]\.gidMappings: needs exactly one mapping, not 0/,
    );
  });
});
