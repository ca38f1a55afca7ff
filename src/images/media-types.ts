/** Which manifests are container images that Cairn can unpack. */
import { CairnError } from '../base/errors.ts';
import type { Manifest } from '../registry/index.ts';
import { CONFIG_BYTES_MAX } from './config.ts';

const LAYERS_MAX = 512;

const CONFIGS: ReadonlySet<string> = new Set([
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
]);

const LAYERS: ReadonlySet<string> = new Set([
  'application/vnd.oci.image.layer.v1.tar',
  'application/vnd.oci.image.layer.v1.tar+gzip',
  'application/vnd.oci.image.layer.v1.tar+zstd',
  'application/vnd.docker.image.rootfs.diff.tar',
  'application/vnd.docker.image.rootfs.diff.tar.gzip',
  'application/vnd.docker.image.rootfs.diff.tar.zstd',
]);

/** Layers that registries may not hand out, so that a pull by digest alone can't have them. */
const FOREIGN = /\.(?:nondistributable|foreign)\./;

/** Throws FailedPrecondition naming what can't be used. `image` is what the caller asked for. */
export function checkUsable(manifest: Manifest, image: string): void {
  const { config, layers } = manifest;
  if (!CONFIGS.has(config.mediaType)) {
    throw refuse(image, `is not a container image: its config has media type ${JSON.stringify(config.mediaType)}`);
  }
  if (config.sizeBytes > CONFIG_BYTES_MAX) {
    throw refuse(
      image,
      `config ${config.digest} has ${config.sizeBytes} bytes, at most ${CONFIG_BYTES_MAX} are allowed`,
    );
  }
  if (layers.length > LAYERS_MAX) throw refuse(image, `${layers.length} layers, at most ${LAYERS_MAX} are allowed`);
  for (const layer of layers) {
    if (LAYERS.has(layer.mediaType)) continue;
    const why = FOREIGN.test(layer.mediaType) ? 'is foreign (its registry does not hold it)' : 'is of no known kind';
    throw refuse(image, `layer ${layer.digest} ${why}: media type ${JSON.stringify(layer.mediaType)}`);
  }
}

function refuse(image: string, why: string): CairnError {
  return new CairnError('FailedPrecondition', `${image}: ${why}`, { step: 'images.manifest' });
}
