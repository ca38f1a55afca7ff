/** The container's process: command line, environment, working directory, rlimits (Kubernetes' rules on the image's). */
import { posix } from 'node:path';
import { CairnError } from '../../base/errors.ts';
import type { ImageConfig } from '../../images/index.ts';
import { podHostname } from '../../pods/index.ts';
import type { ContainerConfig } from '../index.ts';
import { buildCapabilities } from './capabilities.ts';
import type { ProcessSpec } from './oci.ts';
import { effectiveResources } from './resources.ts';
import { apparmorProfile } from './security.ts';
import type { SpecInput } from './spec-input.ts';

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export function buildProcess(input: SpecInput): ProcessSpec {
  const { config, image, user, host, pod } = input;
  const apparmor = apparmorProfile(config.security, host);
  return {
    terminal: config.tty,
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: commandLine(config, image),
    env: environment(config, image, podHostname(pod.config, host.hostname)),
    cwd: workingDirectory(config, image),
    capabilities: buildCapabilities(config.security, host.capabilities),
    ...(input.rlimits.length > 0 ? { rlimits: input.rlimits } : {}),
    noNewPrivileges: config.security.noNewPrivileges,
    oomScoreAdj: effectiveResources(config.resources, host).oomScoreAdj,
    ...(apparmor === undefined ? {} : { apparmorProfile: apparmor }),
  };
}

/** A command replaces the image's entrypoint and drops its cmd; args alone replace cmd. */
export function commandLine(config: ContainerConfig, image: ImageConfig): string[] {
  const entrypoint = config.command.length > 0 ? config.command : image.entrypoint;
  const imageCmd = config.command.length > 0 ? [] : image.cmd;
  const args = [...entrypoint, ...(config.args.length > 0 ? config.args : imageCmd)];
  if (args.length > 0) return args;
  throw new CairnError(
    'InvalidArgument',
    `no command specified: neither the container nor the image ${config.image} has one`,
    { step: 'container.spec' },
  );
}

/** The image's variables, then the caller's over them; a PATH always, TERM on a terminal. */
export function environment(config: ContainerConfig, image: ImageConfig, hostname: string): string[] {
  const byName = new Map<string, string>();
  const set = (entry: string) => {
    const [name = ''] = entry.split('=', 1);
    // What has no name can't be looked up, and putenv refuses it.
    if (name !== '') byName.set(name, entry.includes('=') ? entry : `${entry}=`);
  };
  set(DEFAULT_PATH);
  set(`HOSTNAME=${hostname}`);
  if (config.tty) set('TERM=xterm');
  image.env.forEach(set);
  for (const { key, value } of config.env) set(`${key}=${value}`);
  return [...byName.values()];
}

export function workingDirectory(config: ContainerConfig, image: ImageConfig): string {
  const unsafeDirectory = config.workingDir || image.workingDir || '/';
  // Relative ones are from the root, as Docker reads WORKDIR in old images.
  return posix.resolve('/', unsafeDirectory);
}
