import { describe, expect, test } from '@jest/globals';
import { digestOf } from '../../../src/base/digest.ts';
import { CairnError } from '../../../src/base/errors.ts';
import type { Image } from '../../../src/images/index.ts';
import { checkUsable } from '../../../src/images/media-types.ts';
import { pinnedMatcher } from '../../../src/images/pinned.ts';
import { removalOf } from '../../../src/images/removal.ts';
import { together } from '../../../src/images/together.ts';

describe('removal of names', () => {
  const image = {
    repoTags: ['docker.io/library/a:1', 'docker.io/library/a:2', 'localhost:5000/a:1'],
    repoDigests: ['docker.io/library/a@sha256:1', 'localhost:5000/a@sha256:1'],
  } as unknown as Image;

  test('one tag of several in a repository goes alone', () => {
    expect(removalOf(image, 'docker.io/library/a:1')).toEqual({ names: ['docker.io/library/a:1'], whole: false });
  });

  test('the last tag of a repository takes its digests along', () => {
    expect(removalOf(image, 'localhost:5000/a:1')).toEqual({
      names: ['localhost:5000/a:1', 'localhost:5000/a@sha256:1'],
      whole: false,
    });
  });

  test('the last name takes the image, and so does the ID', () => {
    const last = { repoTags: ['x/y:1'], repoDigests: ['x/y@sha256:1'] } as unknown as Image;
    expect(removalOf(last, 'x/y:1').whole).toBe(true);
    expect(removalOf(last, 'x/y@sha256:1').whole).toBe(false);
    expect(removalOf(image, undefined)).toMatchObject({ whole: true });
  });
});

describe('pinned images', () => {
  test('a pattern is a name or has stars', () => {
    const isPinned = pinnedMatcher(['pause', 'registry.k8s.io/pause:*', '*/kube-proxy:v1.3*']);
    expect(isPinned('docker.io/library/pause:latest')).toBe(true);
    expect(isPinned('registry.k8s.io/pause:3.10')).toBe(true);
    expect(isPinned('registry.k8s.io/kube-proxy:v1.36.3')).toBe(true);
    expect(isPinned('registry.k8s.io/kube-proxy:v1.29.0')).toBe(false);
    expect(isPinned('registryXk8s.io/pause:3.10')).toBe(false);
    expect(pinnedMatcher([])('docker.io/library/pause:latest')).toBe(false);
  });
});

describe('usable manifests', () => {
  const digest = digestOf('x');
  const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, sizeBytes: 10 };
  const manifest = (layerType: string, configOf = config, count = 1) => ({
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: configOf,
    layers: Array.from({ length: count }, () => ({ mediaType: layerType, digest, sizeBytes: 1 })),
    annotations: {},
  });

  test.each([
    ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'foreign'],
    ['application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', 'foreign'],
    ['application/vnd.oci.image.layer.v1.tar+gzip+encrypted', 'of no known kind'],
  ])('layers of type %s are refused with their digest', (type, why) => {
    expect(() => checkUsable(manifest(type), 'app')).toThrow(expect.objectContaining({ kind: 'FailedPrecondition' }));
    expect(() => checkUsable(manifest(type), 'app')).toThrow(why);
    expect(() => checkUsable(manifest(type), 'app')).toThrow(digest);
  });

  test('an artifact, a huge config and too many layers are refused', () => {
    const plain = 'application/vnd.oci.image.layer.v1.tar';
    expect(() => checkUsable(manifest(plain), 'app')).not.toThrow();
    const helm = { ...config, mediaType: 'application/vnd.cncf.helm.config.v1+json' };
    expect(() => checkUsable(manifest(plain, helm), 'app')).toThrow('not a container image');
    expect(() => checkUsable(manifest(plain, { ...config, sizeBytes: 9_000_000 }), 'app')).toThrow('config');
    expect(() => checkUsable(manifest(plain, config, 513), 'app')).toThrow('513 layers');
  });
});

describe('work done together', () => {
  test('the first failure aborts the rest and is thrown when all have ended', async () => {
    const controller = new AbortController();
    let ended = false;
    const other = new Promise<void>((resolve) => {
      controller.signal.addEventListener('abort', () => setTimeout(() => resolve(), 10));
    }).then(() => {
      ended = true;
    });
    const failure = new CairnError('DataLoss', 'broken');
    await expect(together(controller, [other, Promise.reject(failure)])).rejects.toBe(failure);
    expect(ended).toBe(true);
    expect(controller.signal.reason).toBe(failure);
  });

  test('a follower of an abandoned file does not hide why it was abandoned', async () => {
    const failure = new CairnError('DataLoss', 'too large');
    const late = new Promise((_, reject) => setTimeout(() => reject(failure), 10));
    const follower = Promise.reject(new CairnError('Aborted', 'abandoned'));
    await expect(together(new AbortController(), [follower, late])).rejects.toBe(failure);
  });
});
