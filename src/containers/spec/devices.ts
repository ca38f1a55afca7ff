/** Device nodes that a container gets from the host: the ones asked for, or all for a privileged container. */
import type { Stats } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { CairnError, messageOf } from '../../base/errors.ts';
import { deviceNumbers } from '../../linux/index.ts';
import type { ContainerConfig } from '../index.ts';
import type { DeviceRule, DeviceSpec } from './oci.ts';

/** In /dev, but no devices of the host's to hand on: other file systems, and the daemon's own terminal. */
const NOT_HANDED_ON: ReadonlySet<string> = new Set(['pts', 'shm', 'mqueue', 'fd', 'console', '.udev', 'hugepages']);
/** A directory given as a device may hold many; a bound against a mistaken `/`. */
const DEVICES_MAX = 4096;

type HostDevice = DeviceSpec & { readonly type: 'b' | 'c'; readonly major: number; readonly minor: number };

export interface ResolvedDevices {
  readonly nodes: readonly DeviceSpec[];
  readonly rules: readonly DeviceRule[];
}

export async function resolveDevices(config: ContainerConfig): Promise<ResolvedDevices> {
  const found = new Map<string, { readonly node: HostDevice; readonly access: string }>();
  if (config.security.privileged) {
    for (const node of await devicesBelow('/dev', '/dev')) found.set(node.path, { node, access: 'rwm' });
  }
  for (const { hostPath, containerPath, permissions } of config.devices) {
    for (const node of await askedDevices(hostPath, containerPath || hostPath)) {
      found.set(node.path, { node, access: permissions || 'rwm' });
    }
  }
  const all = [...found.values()];
  return {
    nodes: all.map(({ node }) => node),
    rules: all.map(({ node: { type, major, minor }, access }) => ({ allow: true, type, major, minor, access })),
  };
}

/** The device at `hostPath`, or every device in that directory. */
async function askedDevices(hostPath: string, containerPath: string): Promise<HostDevice[]> {
  let resolved: string;
  let status: Stats;
  try {
    resolved = await realpath(hostPath);
    status = await stat(resolved);
  } catch (error) {
    throw new CairnError('InvalidArgument', `device ${hostPath}: ${messageOf(error)}`, {
      step: 'container.devices',
      cause: error,
    });
  }
  if (status.isDirectory()) return devicesBelow(resolved, containerPath);
  const node = deviceOf(status, containerPath);
  if (node) return [node];
  throw new CairnError('InvalidArgument', `device ${hostPath} is no device`, { step: 'container.devices' });
}

async function devicesBelow(directory: string, containerPath: string): Promise<HostDevice[]> {
  const found: HostDevice[] = [];
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    if (NOT_HANDED_ON.has(entry.name)) continue;
    const [source, target] = [join(directory, entry.name), posix.join(containerPath, entry.name)];
    if (entry.isDirectory()) found.push(...(await devicesBelow(source, target)));
    if (entry.isCharacterDevice() || entry.isBlockDevice()) {
      // A device may go between the two calls: then it is not there.
      const status = await stat(source).catch(() => undefined);
      const node = status && deviceOf(status, target);
      if (node) found.push(node);
    }
    if (found.length > DEVICES_MAX) {
      throw new CairnError('InvalidArgument', `${directory} holds more than ${DEVICES_MAX} devices`, {
        step: 'container.devices',
      });
    }
  }
  return found;
}

function deviceOf(status: Stats, path: string): HostDevice | undefined {
  if (!status.isCharacterDevice() && !status.isBlockDevice()) return undefined;
  return {
    path,
    type: status.isBlockDevice() ? 'b' : 'c',
    ...deviceNumbers(BigInt(status.rdev)),
    fileMode: status.mode & 0o777,
    uid: status.uid,
    gid: status.gid,
  };
}
