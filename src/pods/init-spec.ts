/**
 * The runtime spec of a pod's init process. It does nothing but to hold the pod's PID namespace and reap what is orphaned in it,
 * so it gets nothing: no capability, no writable file, no user of the host's.
 */
import type { IdMapping, IdMappings } from '../linux/index.ts';
import type { Pod } from './index.ts';

/** Kubernetes keeps pause processes alive when memory is short. */
export const INIT_OOM_SCORE_ADJ = -998;
/** A user and group that no image and no node uses. */
const NOBODY = 65535;

export interface InitSpecInput {
  readonly namespaces: Pod['namespaces'];
  readonly rootPath: string;
  readonly args: readonly string[];
  /** A program of the host's to show at `containerPath`; undefined when the root filesystem holds it. */
  readonly program: { readonly hostPath: string; readonly containerPath: string } | undefined;
  readonly userNamespace: IdMappings | undefined;
  readonly cgroupsPath: string;
  readonly oomScoreAdj: number;
}

/** ID mappings as a runtime spec has them. */
export function ociMappings({ uids, gids }: IdMappings) {
  const oci = ({ containerId, hostId, length }: IdMapping) => ({
    containerID: containerId,
    hostID: hostId,
    size: length,
  });
  return { uidMappings: uids.map(oci), gidMappings: gids.map(oci) };
}

export function initSpec(input: InitSpecInput): object {
  const { namespaces, program, userNamespace } = input;
  const id = (ids: readonly IdMapping[] | undefined) => Math.min(NOBODY, (ids?.[0]?.length ?? Infinity) - 1);
  const joined = (['user', 'network', 'ipc', 'uts'] as const).flatMap((type) => {
    const path = namespaces[type];
    return path === undefined ? [] : [{ type, path }];
  });
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid: id(userNamespace?.uids), gid: id(userNamespace?.gids) },
      args: input.args,
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      cwd: '/',
      capabilities: { bounding: [], effective: [], permitted: [], inheritable: [], ambient: [] },
      noNewPrivileges: true,
      oomScoreAdj: input.oomScoreAdj,
    },
    root: { path: input.rootPath, readonly: true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      {
        destination: '/dev',
        type: 'tmpfs',
        source: 'tmpfs',
        options: ['nosuid', 'noexec', 'strictatime', 'mode=755', 'size=64k'],
      },
      ...(program === undefined
        ? []
        : [
            {
              destination: program.containerPath,
              type: 'bind',
              source: program.hostPath,
              options: ['bind', 'ro', 'nosuid', 'nodev'],
            },
          ]),
    ],
    linux: {
      namespaces: [{ type: 'pid' }, { type: 'mount' }, ...joined],
      ...(userNamespace && ociMappings(userNamespace)),
      cgroupsPath: input.cgroupsPath,
      resources: { devices: [{ allow: false, access: 'rwm' }] },
      maskedPaths: ['/proc/kcore', '/proc/keys', '/proc/sysrq-trigger'],
      readonlyPaths: ['/proc/sys', '/proc/irq', '/proc/bus'],
    },
  };
}
