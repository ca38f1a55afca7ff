import { describe, expect, test } from '@jest/globals';
import { parseIndex, parseManifest, selectPlatform } from '../../../src/registry/index.ts';
import { makeImage, makeIndex } from '../../fixtures/image-maker.ts';

const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';
const DIGEST = `sha256:${'0'.repeat(64)}`;
const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest: DIGEST, size: 2 };

const bytesOf = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));

describe('a manifest', () => {
  test('is read with config and layers, OCI and Docker alike', () => {
    for (const docker of [false, true]) {
      const image = makeImage({ docker });
      const manifest = parseManifest(image.manifest.bytes, image.manifest.mediaType);
      expect(manifest.config.digest).toBe(image.configDigest);
      expect(manifest.layers.map((layer) => layer.digest)).toEqual(image.layers.map((layer) => layer.digest));
      expect(manifest.layers[0]?.sizeBytes).toBe(image.layers[0]?.bytes.length);
    }
  });

  test('may leave its media type to the header, or the header to it', () => {
    const bare = bytesOf({ schemaVersion: 2, config, layers: [] });
    expect(parseManifest(bare, OCI_MANIFEST).mediaType).toBe(OCI_MANIFEST);
    expect(parseManifest(bare, 'application/json').mediaType).toBe(OCI_MANIFEST);
  });

  const wrong: readonly (readonly [string, unknown, RegExp])[] = [
    ['no JSON', '{', /not a JSON object/],
    ['a list', [], /not a JSON object/],
    ['no config', { schemaVersion: 2, mediaType: OCI_MANIFEST, layers: [] }, /config: not a descriptor/],
    ['an index', { schemaVersion: 2, mediaType: OCI_INDEX, manifests: [] }, /says .*index.* inside/],
    ['both at once', { schemaVersion: 2, config, layers: [], manifests: [] }, /manifests: does not belong/],
    ['a wrong version', { schemaVersion: 3, config, layers: [] }, /schemaVersion/],
    ['a bad digest', { schemaVersion: 2, config: { ...config, digest: 'sha256:x' }, layers: [] }, /config\.digest/],
    ['a negative size', { schemaVersion: 2, config, layers: [{ ...config, size: -1 }] }, /layers\[0\]\.size/],
    ['a size that is none', { schemaVersion: 2, config, layers: [{ ...config, size: '1' }] }, /layers\[0\]\.size/],
    ['layers that are no list', { schemaVersion: 2, config, layers: {} }, /layers: not a list/],
    ['too many layers', { schemaVersion: 2, config, layers: Array(501).fill(config) }, /at most 500/],
  ];
  test.each(wrong)('with %s is DataLoss that names the digest', (_name, value, reason) => {
    const parse = () => parseManifest(bytesOf(value), OCI_MANIFEST);
    expect(parse).toThrow(expect.objectContaining({ kind: 'DataLoss' }));
    expect(parse).toThrow(reason);
    expect(parse).toThrow(/^manifest sha256:[0-9a-f]{64} is broken: /);
  });

  test('of schema 1 is refused with what to do', () => {
    expect(() => parseManifest(bytesOf({ schemaVersion: 1, fsLayers: [] }), 'application/json')).toThrow(
      /schema 1.*push the image again/,
    );
  });
});

describe('the choice of a platform', () => {
  const index = (platforms: readonly string[]) => {
    const entries = platforms.map((text, at) => {
      const [os = '', architecture = '', variant] = text.split('/');
      const image = makeImage({ os, architecture, config: { Labels: { at: String(at) } } });
      return { image, ...(text && { platform: { os, architecture, ...(variant && { variant }) } }) };
    });
    const made = makeIndex(entries);
    return { parsed: parseIndex(made.manifest.bytes, made.manifest.mediaType), entries };
  };
  const table: readonly (readonly [string, readonly string[], number])[] = [
    ['linux/amd64', ['linux/arm64', 'linux/amd64'], 1],
    ['linux/amd64', ['linux/amd64/v3', 'linux/amd64'], 1],
    ['linux/amd64', ['windows/amd64', 'linux/amd64', 'linux/amd64'], 1],
    ['linux/amd64', ['linux/x86_64'], 0],
    ['linux/arm64', ['linux/arm/v7', 'linux/arm64/v8'], 1],
    ['linux/arm64/v8', ['linux/aarch64'], 0],
    ['linux/arm/v7', ['linux/arm/v5', 'linux/arm/v6', 'linux/arm/v8'], 1],
    ['linux/arm', ['linux/arm/v6', 'linux/arm/v7'], 1],
    ['linux/arm/v6', ['linux/arm/v7', 'linux/arm/v5'], 1],
    ['linux/amd64', ['linux/arm64', ''], 1],
    ['linux/amd64', ['', 'linux/amd64'], 1],
  ];
  test.each(table)('for %s of %j is number %d', (wanted, platforms, expected) => {
    const [os = '', architecture = '', variant] = wanted.split('/');
    const { parsed, entries } = index(platforms);
    const chosen = selectPlatform(parsed, { os, architecture, ...(variant && { variant }) });
    expect(chosen.digest).toBe(entries[expected]?.image.digest);
  });

  test('is NotFound naming the platforms there are, attestations left out', () => {
    const { parsed } = index([
      'linux/arm64/v8',
      'unknown/unknown',
      'windows/amd64',
      'linux/arm64/v8',
      'linux/amd64/v4',
    ]);
    expect(() => selectPlatform(parsed, { os: 'linux', architecture: 'amd64' })).toThrow(
      expect.objectContaining({
        kind: 'NotFound',
        message: 'no manifest for linux/amd64; there are manifests for linux/arm64/v8, windows/amd64, linux/amd64/v4',
      }),
    );
  });
});
