/** PullImage with its progress, InspectImage. */
import Long from 'long';
import { CairnError } from '../base/errors.ts';
import {
  type Cairn,
  type IImageSummary,
  type IPullImageProgress,
  LayerState,
  type RegistryCredentials,
} from '../generated/cairn.js';
import type { Image, LayerProgress, PullProgress } from '../images/index.ts';
import type { Credentials } from '../registry/index.ts';
import type { Handlers } from '../rpc/index.ts';
import type { CairnOptions } from './index.ts';
import { Latest } from './latest.ts';

const LAYER_STATES: Readonly<Record<LayerProgress['state'], LayerState>> = {
  waiting: LayerState.LAYER_STATE_WAITING,
  downloading: LayerState.LAYER_STATE_DOWNLOADING,
  unpacking: LayerState.LAYER_STATE_UNPACKING,
  done: LayerState.LAYER_STATE_DONE,
  present: LayerState.LAYER_STATE_PRESENT,
};

/** People see no more than this, and a pull reports every chunk. */
const PROGRESS_INTERVAL_MS = 50;

export function imageHandlers({ images }: CairnOptions): Handlers<typeof Cairn> {
  return {
    async *pullImage({ image: unsafeName, credentials: given }, { signal }) {
      const name = requiredImage(unsafeName);
      const left = new AbortController();
      const latest = new Latest<PullProgress>(PROGRESS_INTERVAL_MS);
      const credentials = parseCredentials(given);
      const pulled = images
        .pull(name, {
          signal: AbortSignal.any([signal, left.signal]),
          onProgress: (progress) => latest.set(progress),
          ...(credentials && { credentials }),
        })
        .finally(() => latest.end());
      // Awaited below; a reader that leaves in between must not make it an unhandled rejection.
      pulled.catch(() => undefined);
      try {
        for await (const progress of latest.values()) yield renderProgress(progress);
        yield { image: name, result: renderSummary(await pulled) };
      } finally {
        left.abort(new CairnError('Cancelled', 'the client left'));
      }
    },

    inspectImage({ image: name }) {
      const image = images.find(requiredImage(name));
      if (!image) throw new CairnError('NotFound', `no image ${JSON.stringify(name)}`, { step: 'api.inspectImage' });
      const { config, diffIds } = image;
      return {
        image: renderSummary(image),
        manifestDigest: image.manifestDigest,
        os: config.os,
        architecture: config.architecture,
        variant: config.variant,
        layers: image.layers.map(({ digest, sizeBytes, mediaType }, index) => {
          return { digest, diffId: diffIds[index], mediaType, sizeBytes };
        }),
        configJson: JSON.stringify(config),
      };
    },
  };
}

function requiredImage(name: string): string {
  if (name === '') throw new CairnError('InvalidArgument', 'image: is required', { step: 'api.request' });
  return name;
}

function parseCredentials(given: RegistryCredentials | null): Credentials | undefined {
  const set = Object.entries({ ...given }).filter(([, value]) => value !== '');
  return set.length === 0 ? undefined : Object.fromEntries(set);
}

function renderProgress({ image, layers }: PullProgress): IPullImageProgress {
  return {
    image,
    layers: layers.map(({ digest, state, downloadedBytes, sizeBytes }) => {
      return { digest, state: LAYER_STATES[state], downloadedBytes, sizeBytes };
    }),
  };
}

function renderSummary(image: Image): IImageSummary {
  const { id, repoTags, repoDigests, sizeBytes, createdAtNs, pinned } = image;
  return { id, repoTags, repoDigests, sizeBytes, createdAt: Long.fromBigInt(createdAtNs), pinned };
}
