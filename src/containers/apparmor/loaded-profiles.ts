/** Which AppArmor profiles the kernel has now. Administrators and operators load and remove them at any time. */
import { readFile } from 'node:fs/promises';
import { errnoOf } from '../../base/errors.ts';

const PROFILES_FILE = '/sys/kernel/security/apparmor/profiles';

/** Empty without AppArmor, or where securityfs is not mounted. */
export async function loadedProfiles(): Promise<ReadonlySet<string>> {
  try {
    return parseProfiles(await readFile(PROFILES_FILE, 'utf8'));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return new Set();
    throw error;
  }
}

/** Lines of `NAME (MODE)`; a name may hold spaces and parentheses. */
export function parseProfiles(text: string): ReadonlySet<string> {
  return new Set(text.split('\n').flatMap((line) => /^(.+) \([a-z]+\)$/.exec(line)?.[1] ?? []));
}
