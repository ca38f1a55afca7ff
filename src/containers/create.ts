/** Makes what a created container has: bundle, writable snapshot, runtime spec. */
import { throwIfAborted } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import type { Logger } from '../base/log.ts';
import { stage } from '../base/stages.ts';
import type { Image } from '../images/index.ts';
import type { Pod } from '../pods/index.ts';
import type { Snapshotter } from '../snapshotter/index.ts';
import { makeBundle, rootfsPath, writeSpec } from './bundle.ts';
import { applyCdiEdits } from './cdi/apply.ts';
import type { CdiRegistry } from './cdi/registry.ts';
import type { ContainerUser } from './index.ts';
import type { ContainerRecord } from './records.ts';
import { buildSpec } from './spec/build-spec.ts';
import { resolveMounts } from './spec/caller-mounts.ts';
import { resolveDevices } from './spec/devices.ts';
import { type HostFacts, withLoadedProfiles } from './spec/host-facts.ts';
import { readSeccompProfile } from './spec/localhost-seccomp.ts';
import type { RlimitSpec } from './spec/oci.ts';
import { readUserDatabase } from './spec/rootfs-file.ts';
import { type ResolvedUser, resolveUser } from './spec/user.ts';
import { makeVolumes, volumeMounts, writableFor } from './volumes.ts';

export interface BuildContext {
  readonly snapshotter: Snapshotter;
  readonly cdi: CdiRegistry;
  readonly host: HostFacts;
  readonly rlimits: readonly RlimitSpec[];
  readonly log: Logger;
  /** The PID namespace of a container that this one wants to join. */
  targetPidNamespace(record: ContainerRecord): string | undefined;
}

/** Who its process will be. What it throws half-way is undone by the caller. */
export async function buildContainer(
  record: ContainerRecord,
  pod: Pod,
  image: Image,
  volumeImages: ReadonlyMap<string, Image>,
  context: BuildContext,
  signal: AbortSignal | undefined,
): Promise<ContainerUser> {
  const { config, directory, cgroupsPath } = record;
  const { rlimits } = context;
  const host = await withLoadedProfiles(context.host);
  const targetPidNamespace = context.targetPidNamespace(record);
  const cdiEdits = await stage('container.devices', () => context.cdi.resolve(config.cdiDevices));
  await makeBundle(directory);
  // The root filesystem stays mounted from here to the end of the container: it is needed now for the users in it, and at the start.
  const user = await stage('container.rootfs', () => prepareRootfs(record, pod, image, context));
  throwIfAborted(signal, 'container.create');
  const volumes = await stage('container.volumes', async () => {
    await makeVolumes(record, pod, image, volumeImages, context.snapshotter);
    return await volumeMounts(record, pod);
  });
  throwIfAborted(signal, 'container.create');
  // A path of the host may lie on a network file system that does not answer.
  const [devices, callerMounts] = await stage('container.host-paths', () =>
    Promise.all([resolveDevices(config), resolveMounts(config, volumes.images)]),
  );
  const { seccomp, privileged } = config.security;
  const localhostSeccomp =
    seccomp.kind === 'localhost' && !privileged ? await readSeccompProfile(seccomp.path) : undefined;
  const rootPath = rootfsPath(directory);
  const plainSpec = buildSpec({
    ...{ pod, config, image: image.config, user, host, rootPath, cgroupsPath, devices, rlimits },
    ...{ ...callerMounts, ownVolumes: volumes.own, targetPidNamespace, localhostSeccomp },
  });
  const spec = await applyCdiEdits(plainSpec, cdiEdits);
  warnOfClamp(record, spec.process.oomScoreAdj, context.log);
  await writeSpec(directory, spec);
  throwIfAborted(signal, 'container.create');
  return { uid: user.uid, gid: user.gid, groups: spec.process.user.additionalGids };
}

async function prepareRootfs(
  record: ContainerRecord,
  pod: Pod,
  image: Image,
  context: BuildContext,
): Promise<ResolvedUser> {
  const { snapshotter } = context;
  const initLayer = await snapshotter.ensureInitLayer(image.chainId);
  await failpoint('container.snapshot.prepare');
  await snapshotter.prepare(record.id, initLayer, writableFor(pod));
  await failpoint('container.rootfs.mount');
  await snapshotter.mount(record.id, rootfsPath(record.directory), { userNamespace: pod.namespaces.user });
  const database = await readUserDatabase(rootfsPath(record.directory));
  return resolveUser(record.config.security, image.config.user, database);
}

function warnOfClamp({ id, podId, config }: ContainerRecord, effective: number, log: Logger): void {
  const asked = config.resources.oomScoreAdj;
  if (asked === effective) return;
  log.warn(
    { container: id, pod: podId, asked, effective },
    'oom_score_adj is raised: without CAP_SYS_RESOURCE the daemon may not set less than its own',
  );
}
