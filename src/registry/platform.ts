/** Platforms: names as the image spec has them (Go's GOOS and GOARCH), and the choice of a manifest for one of them. */
import { arch } from 'node:process';
import { CairnError } from '../base/errors.ts';
import type { Descriptor, Index, Platform } from './index.ts';

const NODE_ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', mipsel: 'mipsle' };

/** Other names for the same architecture that images carry in the wild. */
const ALIASES: Readonly<Record<string, Platform>> = {
  x86_64: { os: '', architecture: 'amd64' },
  'x86-64': { os: '', architecture: 'amd64' },
  i386: { os: '', architecture: '386' },
  aarch64: { os: '', architecture: 'arm64' },
  armhf: { os: '', architecture: 'arm', variant: 'v7' },
  armel: { os: '', architecture: 'arm', variant: 'v6' },
};

/** The variant that is meant when none is said. */
const DEFAULT_VARIANTS: Readonly<Record<string, string>> = { amd64: 'v1', arm64: 'v8', arm: 'v7' };

/** What this machine runs. */
export function hostPlatform(): Platform {
  return normalise({ os: 'linux', architecture: NODE_ARCHITECTURES[arch] ?? arch });
}

/**
 * The entry of `index` that `platform` runs best: the same variant, else the highest lower one (arm), else an entry that
 * names no platform. NotFound naming the platforms there are.
 */
export function selectPlatform(index: Index, platform: Platform): Descriptor {
  let best: { readonly entry: Descriptor; readonly rank: number } | undefined;
  for (const entry of index.manifests) {
    const rank = entry.platform ? rankOf(entry.platform, platform) : 0;
    if (rank !== undefined && (best === undefined || rank > best.rank)) best = { entry, rank };
  }
  if (best) return best.entry;
  throw new CairnError(
    'NotFound',
    `no manifest for ${formatPlatform(platform)}; there are manifests for ${platformsOf(index) || 'no platform at all'}`,
    { step: 'registry.selectPlatform' },
  );
}

/** How well `wanted` runs `offered`: higher is better, undefined not at all. */
function rankOf(offered: Platform, wanted: Platform): number | undefined {
  const have = normalise(offered);
  const want = normalise(wanted);
  if (have.os !== want.os || have.architecture !== want.architecture) return undefined;
  if (have.variant === want.variant) return 1000;
  const haveVersion = variantVersion(have.variant);
  const wantVersion = variantVersion(want.variant);
  if (haveVersion === undefined || wantVersion === undefined || haveVersion > wantVersion) return undefined;
  return 1 + haveVersion;
}

function variantVersion(variant: string | undefined): number | undefined {
  const match = /^v(\d{1,2})$/.exec(variant ?? '');
  return match ? Number(match[1]) : undefined;
}

function normalise(platform: Platform): Platform {
  const architecture = platform.architecture.toLowerCase();
  const alias = ALIASES[architecture];
  const known = alias?.architecture ?? architecture;
  const spelled = platform.variant?.toLowerCase() ?? alias?.variant ?? DEFAULT_VARIANTS[known];
  const variant = spelled !== undefined && /^\d/.test(spelled) ? `v${spelled}` : spelled;
  return { os: platform.os.toLowerCase(), architecture: known, ...(variant !== undefined && { variant }) };
}

export function formatPlatform(platform: Platform): string {
  return [platform.os, platform.architecture, platform.variant].filter(Boolean).join('/');
}

/** Attestations carry the platform unknown/unknown: they are no images. */
function platformsOf(index: Index): string {
  const names = index.manifests
    .filter((entry) => entry.platform && entry.platform.os !== 'unknown')
    .map((entry) => (entry.platform ? formatPlatform(entry.platform) : ''));
  return [...new Set(names)].slice(0, 50).join(', ');
}
