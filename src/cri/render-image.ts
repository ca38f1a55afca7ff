/** Images as CRI shows them. */
import type { IImage } from '../generated/cri.js';
import type { Image } from '../images/index.ts';
import { info } from './render.ts';

export function renderImage(image: Image): IImage {
  return {
    id: image.id,
    repoTags: image.repoTags,
    repoDigests: image.repoDigests,
    size: image.sizeBytes,
    ...defaultUser(image.config.user),
    pinned: image.pinned,
  };
}

/** `USER[:GROUP]` of an image: a number or a name. */
function defaultUser(user: string): Pick<IImage, 'uid' | 'username'> {
  const [name = ''] = user.split(':');
  if (name === '') return {};
  return /^\d{1,10}$/.test(name) ? { uid: { value: Number(name) } } : { username: name };
}

/** The keys that node tools read from containerd's answer. */
export function renderImageInfo(image: Image) {
  const { chainId, config, manifestDigest, layers, diffIds } = image;
  const imageSpec = {
    created: config.created,
    os: config.os,
    architecture: config.architecture,
    variant: config.variant,
    config: {
      User: config.user,
      Env: config.env,
      Entrypoint: config.entrypoint,
      Cmd: config.cmd,
      WorkingDir: config.workingDir,
      Labels: config.labels,
      StopSignal: config.stopSignal,
      Volumes: Object.fromEntries(config.volumes.map((path) => [path, {}])),
      ExposedPorts: Object.fromEntries(config.exposedPorts.map((port) => [port, {}])),
    },
    rootfs: { type: 'layers', diff_ids: diffIds },
  };
  return info({ chainID: chainId ?? '', imageSpec, manifestDigest, layers });
}
