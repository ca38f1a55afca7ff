/** Control groups: which version, and whether what containers need is there and ours to use. */
import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { type Check, subject } from './check.ts';
import { isThere, isWritable, listNames, readText } from './host.ts';

const CGROUP2_SUPER_MAGIC = 0x63677270;
/** Without these a container can't be limited, counted or stopped as a whole. */
const NEEDED_V2 = ['cpu', 'memory', 'pids'];
const WANTED_V2 = ['cpuset', 'io', 'hugetlb'];
const NEEDED_V1 = ['cpu', 'cpuacct', 'memory', 'devices', 'freezer', 'pids'];
const WANTED_V1 = ['cpuset', 'blkio', 'hugetlb'];

type Layout = 'v2' | 'hybrid' | 'v1' | 'none';

export async function checkCgroups(root = '/sys/fs/cgroup'): Promise<Check[]> {
  const layout = await layoutOf(root);
  const checks = [checkLayout(layout)];
  if (layout === 'none') return checks;
  checks.push(await checkControllers(layout, root));
  checks.push(await checkOurs(layout, root));
  return checks;
}

async function layoutOf(root: string): Promise<Layout> {
  if (await isCgroup2(root)) return 'v2';
  if (await isCgroup2(join(root, 'unified'))) return 'hybrid';
  return (await isThere(join(root, 'memory'))) ? 'v1' : 'none';
}

async function isCgroup2(path: string): Promise<boolean> {
  return statfs(path).then(
    ({ type }) => type === CGROUP2_SUPER_MAGIC,
    () => false,
  );
}

export function checkLayout(layout: Layout): Check {
  const version = subject(
    'cgroup.version',
    'Limits, pressure and out-of-memory handling are best with cgroup v2; the kubelet gives up v1.',
  );
  if (layout === 'v2') return version.ok('cgroup v2');
  if (layout === 'none') {
    return version.failed(
      'no cgroups are mounted on /sys/fs/cgroup',
      'mount -t cgroup2 none /sys/fs/cgroup (systemd does it)',
    );
  }
  return version.warning(
    layout === 'hybrid' ? 'cgroup v1 with v2 beside it (hybrid), which crun refuses' : 'cgroup v1',
    'Boot with systemd.unified_cgroup_hierarchy=1; until then the kubelet needs failCgroupV1: false.',
  );
}

async function checkControllers(layout: Layout, root: string): Promise<Check> {
  const controllers = subject('cgroup.controllers', 'A controller that is missing is a limit that is not kept.');
  const there =
    layout === 'v2'
      ? ((await readText(join(root, 'cgroup.controllers'))) ?? '').split(' ').filter(Boolean)
      : ((await listNames(root)) ?? []);
  const [needed, wanted] = layout === 'v2' ? [NEEDED_V2, WANTED_V2] : [NEEDED_V1, WANTED_V1];
  const fix =
    layout === 'v2'
      ? 'Delegate them to this cgroup namespace (systemd: Delegate=yes), or boot without cgroup_disable=.'
      : 'Mount the missing hierarchies (mount -t cgroup -o NAME none /sys/fs/cgroup/NAME), or boot without cgroup_disable=.';
  const missing = needed.filter((name) => !there.includes(name));
  if (missing.length > 0) return controllers.failed(`missing: ${missing.join(', ')}`, fix);
  const unavailable = wanted.filter((name) => !there.includes(name));
  if (unavailable.length > 0) {
    return controllers.warning(`${needed.join(', ')}; not there: ${unavailable.join(', ')}`, fix);
  }
  return controllers.ok([...needed, ...wanted].join(', '));
}

/** Containers' cgroups are made below the root: it must be writable, and on v2 hand its controllers down. */
async function checkOurs(layout: Layout, root: string): Promise<Check> {
  const ours = subject('cgroup.delegation', 'Cairn makes a cgroup for each pod and container.');
  const place = layout === 'v2' ? root : join(root, 'memory');
  if (!(await isWritable(place))) {
    return ours.failed(
      `${place} can't be written to`,
      'Run as root; in a container mount /sys/fs/cgroup read-write from the host.',
    );
  }
  if (layout !== 'v2') return ours.ok('the hierarchies can be written to');
  const handedDown = ((await readText(join(root, 'cgroup.subtree_control'))) ?? '').split(' ');
  const kept = NEEDED_V2.filter((name) => !handedDown.includes(name));
  if (kept.length === 0) return ours.ok(`handed down: ${handedDown.join(', ')}`);
  return ours.warning(
    `not handed down yet: ${kept.join(', ')}`,
    `echo ${kept.map((name) => `+${name}`).join(' ')} > ${join(root, 'cgroup.subtree_control')} (the first container does it)`,
  );
}
