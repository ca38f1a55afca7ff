/** The image service: ListImages and its stream, ImageStatus, PullImage, RemoveImage, ImageFsInfo. */
import type { ImageFilter, ImageService } from '../generated/cri.js';
import type { Image } from '../images/index.ts';
import type { Handlers } from '../rpc/index.ts';
import type { CriContext } from './index.ts';
import { imageName, parseCredentials } from './parse-image.ts';
import { portions } from './portions.ts';
import { now } from './render.ts';
import { renderImage, renderImageInfo } from './render-image.ts';
import { checkHandler } from './runtime-handlers.ts';

export function imageHandlers(context: CriContext): Handlers<typeof ImageService> {
  const { images } = context;
  return {
    listImages({ filter }) {
      return { images: selectImages(filter, context).map(renderImage) };
    },

    async *streamImages({ filter }) {
      for (const some of portions(selectImages(filter, context), renderImage)) yield { images: some };
    },

    imageStatus({ image: spec, verbose }) {
      const image = images.find(imageName(spec));
      if (!image) return {};
      return { image: renderImage(image), info: verbose ? renderImageInfo(image) : {} };
    },

    async pullImage({ image: spec, auth }, { signal }) {
      const name = imageName(spec);
      checkHandler('image.runtime_handler', spec?.runtimeHandler ?? '', context);
      const credentials = parseCredentials(auth);
      const image = await images.pull(name, { signal, ...(credentials && { credentials }) });
      return { imageRef: image.id };
    },

    async removeImage({ image: spec }) {
      // To CRI an image is one thing: any of its names removes it with all of them.
      const image = images.find(imageName(spec));
      if (image) await images.remove(image.id);
      return {};
    },

    async imageFsInfo() {
      const { mountpoint, usedBytes, inodesUsed } = await images.filesystemUsage();
      const usage = {
        timestamp: now(),
        fsId: { mountpoint },
        usedBytes: { value: usedBytes },
        inodesUsed: { value: inodesUsed },
      };
      // Containers' own layers are on the same file system.
      return { imageFilesystems: [usage], containerFilesystems: [usage] };
    },
  };
}

function selectImages(filter: ImageFilter | null, { images }: CriContext): Image[] {
  const name = filter?.image?.image ?? '';
  if (name === '') return images.list();
  const image = images.find(name);
  return image ? [image] : [];
}
