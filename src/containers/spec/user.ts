/**
 * Who the container's process is: the caller's user and groups, or the image's, looked up in the container's own
 * /etc/passwd and /etc/group.
 *
 * Precedence of the user: `runAsUser`, `runAsUsername`, the image's `USER`. The group: `runAsGroup`, the image's group when
 * the user is the image's, the user's primary group in /etc/passwd, 0. A name must be found; a number need not.
 */
import { CairnError } from '../../base/errors.ts';
import type { SecurityContext } from '../index.ts';

export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  /** The primary group among them: else a process could escape a file's group permissions by not being in its own group. */
  readonly additionalGids: readonly number[];
}

/** The text of the two files, empty where the image has none. */
export interface UserDatabase {
  readonly passwd: string;
  readonly group: string;
}

type UserRequest = Pick<
  SecurityContext,
  'runAsUser' | 'runAsUsername' | 'runAsGroup' | 'supplementalGroups' | 'supplementalGroupsPolicy'
>;

/** The largest that the kernel takes as an ID: the one above means "no change". */
const ID_MAX = 0xfffffffe;

export function resolveUser(request: UserRequest, imageUser: string, database: UserDatabase): ResolvedUser {
  const [imageName = '', imageGroup = ''] = splitOnce(imageUser);
  const fromCaller = request.runAsUser !== undefined || request.runAsUsername !== '';
  if (request.runAsGroup !== undefined && !fromCaller) {
    throw invalid('run_as_group is set without run_as_user or run_as_username');
  }
  const wanted = request.runAsUser?.toString() ?? (request.runAsUsername || imageName || '0');
  const users = parsePasswd(database.passwd);
  const groups = parseGroup(database.group);
  const byNumber = parseId(wanted);
  const known = users.find((user) => (byNumber === undefined ? user.name === wanted : user.uid === byNumber));
  const uid = byNumber ?? known?.uid;
  if (uid === undefined) throw invalid(`user ${JSON.stringify(wanted)} is not in the image's /etc/passwd`);
  const imageGid = fromCaller || imageGroup === '' ? undefined : resolveGroup(imageGroup, groups);
  const gid = request.runAsGroup ?? imageGid ?? known?.gid ?? 0;
  const memberships =
    request.supplementalGroupsPolicy === 'strict' || known === undefined
      ? []
      : groups.filter((group) => group.members.includes(known.name)).map((group) => group.gid);
  return { uid, gid, additionalGids: [...new Set([gid, ...memberships, ...request.supplementalGroups])] };
}

function resolveGroup(wanted: string, groups: readonly GroupEntry[]): number {
  const gid = parseId(wanted) ?? groups.find((group) => group.name === wanted)?.gid;
  if (gid === undefined) throw invalid(`group ${JSON.stringify(wanted)} is not in the image's /etc/group`);
  return gid;
}

interface UserEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

/** `name:password:uid:gid:...` a line; a line that is not so is passed over, as the C library does. */
function parsePasswd(text: string): UserEntry[] {
  return fieldsOf(text).flatMap(([name, , unsafeUid = '', unsafeGid = '']) => {
    const [uid, gid] = [parseId(unsafeUid), parseId(unsafeGid)];
    return name && uid !== undefined && gid !== undefined ? [{ name, uid, gid }] : [];
  });
}

/** `name:password:gid:member,member`. */
function parseGroup(text: string): GroupEntry[] {
  return fieldsOf(text).flatMap(([name, , unsafeGid = '', members = '']) => {
    const gid = parseId(unsafeGid);
    return name && gid !== undefined ? [{ name, gid, members: members.split(',') }] : [];
  });
}

function fieldsOf(text: string): string[][] {
  return text.split('\n').map((line) => line.trim().split(':'));
}

function splitOnce(user: string): [string, string] {
  const colon = user.indexOf(':');
  return colon === -1 ? [user, ''] : [user.slice(0, colon), user.slice(colon + 1)];
}

/** A number in its plain form, within the kernel's range. */
function parseId(text: string): number | undefined {
  if (!/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= ID_MAX ? id : undefined;
}

function invalid(message: string): CairnError {
  return new CairnError('InvalidArgument', message, { step: 'container.user' });
}
