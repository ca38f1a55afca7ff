/** Linux security modules: what pods can ask for on this host. */
import { type Check, subject } from './check.ts';
import { findProgram, isThere, readText } from './host.ts';

export async function checkSecurity(): Promise<Check[]> {
  return [await checkAppArmor(), await checkSelinux()];
}

async function checkAppArmor(): Promise<Check> {
  const appArmor = subject('security.apparmor', 'Pods may ask for an AppArmor profile; RuntimeDefault is Cairn’s own.');
  const enabled = await readText('/sys/module/apparmor/parameters/enabled');
  if (enabled !== 'Y') return appArmor.ok('not on this host: pods that ask for a profile are refused');
  if (!(await isThere('/sys/kernel/security/apparmor/profiles'))) {
    return appArmor.warning(
      'enabled, but securityfs is not mounted: profiles can’t be loaded',
      'mount -t securityfs none /sys/kernel/security',
    );
  }
  if ((await findProgram('apparmor_parser')) !== undefined) return appArmor.ok('enabled, profiles can be loaded');
  return appArmor.warning('enabled, but apparmor_parser is not installed', 'apt-get install apparmor');
}

async function checkSelinux(): Promise<Check> {
  const selinux = subject('security.selinux', 'Pods may ask for an SELinux label; volumes are relabelled for them.');
  const enforcing = await readText('/sys/fs/selinux/enforce');
  if (enforcing === undefined) return selinux.ok('not on this host');
  return selinux.ok(enforcing === '1' ? 'enforcing' : 'permissive');
}
