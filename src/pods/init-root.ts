/** The root filesystem of a pod's init process: empty but for catatonit, or the configured sandbox image. */
import { chown, mkdir } from 'node:fs/promises';
import { CairnError } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { ImageService } from '../images/index.ts';
import type { Snapshotter } from '../snapshotter/index.ts';

export interface InitProgram {
  readonly args: readonly string[];
  readonly program: { readonly hostPath: string; readonly containerPath: string } | undefined;
}

/** Whose it is: the user namespace of the pod, if it has one, and who is root in there. */
export interface RootUser {
  readonly path: string | undefined;
  readonly root: { readonly uid: number; readonly gid: number };
}

export interface InitRoot {
  /** Fills `rootPath` and says what to run in it. */
  prepare(podId: string, rootPath: string, user: RootUser, signal?: AbortSignal): Promise<InitProgram>;
  /** Takes `rootPath` apart again. Safe to repeat. */
  release(podId: string, rootPath: string): Promise<void>;
}

/** catatonit is statically linked: it needs nothing beside it. */
export function catatonitRoot(catatonitPath: string): InitRoot {
  return {
    async prepare(_podId, rootPath, { root }) {
      await mkdir(rootPath, { recursive: true, mode: 0o755 });
      // The runtime makes the mount points as root of the pod.
      await chown(rootPath, root.uid, root.gid);
      const containerPath = '/catatonit';
      return { args: [containerPath, '-P'], program: { hostPath: catatonitPath, containerPath } };
    },
    async release() {},
  };
}

export function imageRoot(name: string, images: ImageService, snapshotter: Snapshotter): InitRoot {
  const snapshotName = (podId: string) => `sandbox-${podId}`;
  return {
    async prepare(podId, rootPath, { path, root }, signal) {
      await mkdir(rootPath, { recursive: true, mode: 0o755 });
      const image = images.find(name) ?? (await images.pull(name, signal === undefined ? {} : { signal }));
      const args = [...image.config.entrypoint, ...image.config.cmd];
      if (args.length === 0) {
        throw new CairnError('FailedPrecondition', `the sandbox image ${name} has no command`, { step: 'pod.init' });
      }
      using _pinned = images.pin(image);
      await failpoint('pod.init.snapshot');
      const initLayer = await snapshotter.ensureInitLayer(image.chainId);
      await snapshotter.prepare(snapshotName(podId), initLayer, path === undefined ? {} : { rootOwner: root });
      await snapshotter.mount(snapshotName(podId), rootPath, { userNamespace: path });
      return { args, program: undefined };
    },
    async release(podId, rootPath) {
      await snapshotter.unmount(rootPath);
      await snapshotter.remove(snapshotName(podId));
    },
  };
}
