/** The media types of manifests and indexes: OCI image spec, media-types.md, and Docker's image manifest version 2. */

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json';

export const MANIFEST_TYPES: readonly string[] = [OCI_MANIFEST, DOCKER_MANIFEST];
export const INDEX_TYPES: readonly string[] = [OCI_INDEX, DOCKER_LIST];

/** Docker's image manifest version 1, which holds no image configuration: nothing here can use it. */
export const SCHEMA_1 = 'application/vnd.docker.distribution.manifest.v1+json';

export function isSchema1(mediaType: string): boolean {
  return mediaType === SCHEMA_1 || mediaType === 'application/vnd.docker.distribution.manifest.v1+prettyjws';
}

/** What a registry may answer. */
export const ACCEPTED_MANIFESTS = [...INDEX_TYPES, ...MANIFEST_TYPES].join(', ');

/** A Content-Type header without its parameters. */
export function bareMediaType(contentType: string | undefined): string {
  return (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}
