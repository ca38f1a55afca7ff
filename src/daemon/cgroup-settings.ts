/** Who makes cgroups, and where those go that a request does not place. */
import { CairnError } from '../base/errors.ts';
import type { Config } from '../config/index.ts';
import { isSystemdBooted } from '../linux/index.ts';
import { type CgroupDriver, podCgroup } from '../pods/index.ts';

const DEFAULT_PARENT = '/cairn';

/** FailedPrecondition for the systemd driver on a host without systemd; InvalidArgument for a parent that it can't make. */
export async function cgroupSettings({
  cgroup: { driver },
  sandbox: { cgroupParent },
}: Config): Promise<{ readonly cgroupDriver: CgroupDriver; readonly defaultCgroupParent: string }> {
  if (driver === 'systemd' && !(await isSystemdBooted())) {
    const message = 'cgroup.driver is systemd, but this host was not started by systemd; use cgroupfs';
    throw new CairnError('FailedPrecondition', message, { step: 'daemon.cgroups' });
  }
  const parent = driver === 'systemd' && cgroupParent === DEFAULT_PARENT ? `${DEFAULT_PARENT}.slice` : cgroupParent;
  return { cgroupDriver: driver, defaultCgroupParent: podCgroup(driver, parent) };
}
