/** Loads Cairn's own profile into the kernel, where that has AppArmor and no profile of the name. */
import { readFile } from 'node:fs/promises';
import { messageOf } from '../../base/errors.ts';
import type { Logger } from '../../base/log.ts';
import { runProcess } from '../../linux/index.ts';
import { DEFAULT_APPARMOR_PROFILE, DEFAULT_APPARMOR_RULES } from './default-profile.ts';
import { loadedProfiles } from './loaded-profiles.ts';

const PARSER_MS_MAX = 30_000;
const PARSER_WORDS_BYTES_MAX = 16 * 1024;

export interface LoadAppArmorOptions {
  /** Absolute path of apparmor_parser. */
  readonly parserPath: string;
  readonly log: Logger;
}

/**
 * Never fails the start: pods that ask for the runtime's profile are refused without it, the others run as before. The log
 * says why.
 */
export async function loadDefaultAppArmorProfile({ parserPath, log }: LoadAppArmorOptions): Promise<void> {
  if (!(await isEnabled()) || (await isLoaded())) return;
  let reason: string;
  try {
    const { code, stderr } = await runProcess({
      file: parserPath,
      // From the standard input; no cache, which would be a file in /var for a profile that is loaded once a boot.
      args: ['--add', '--skip-cache', '--quiet'],
      env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
      stdinData: DEFAULT_APPARMOR_RULES,
      timeoutMs: PARSER_MS_MAX,
      outputBytesMax: PARSER_WORDS_BYTES_MAX,
    });
    // Another instance on this host may have been quicker: then the parser fails, and all is well.
    if (await isLoaded()) {
      log.info({ profile: DEFAULT_APPARMOR_PROFILE }, 'the default AppArmor profile is loaded');
      return;
    }
    reason = `${parserPath} ended with code ${code}: ${stderr.toString().trim()}`;
  } catch (error) {
    reason = messageOf(error);
  }
  log.warn(
    { profile: DEFAULT_APPARMOR_PROFILE, reason },
    'the default AppArmor profile can not be loaded: containers run without one, and those that ask for it are refused; install the package apparmor and restart cairnd',
  );
}

async function isEnabled(): Promise<boolean> {
  return (await readFile('/sys/module/apparmor/parameters/enabled', 'utf8').catch(() => '')).startsWith('Y');
}

async function isLoaded(): Promise<boolean> {
  return (await loadedProfiles()).has(DEFAULT_APPARMOR_PROFILE);
}
