/** What removing a name, or a whole image, takes away. */
import type { Image } from './index.ts';

export interface Removal {
  readonly names: readonly string[];
  /** No name is left: the image goes. */
  readonly whole: boolean;
}

/**
 * `name` is one of the image's names, or undefined for all of it. The last tag of a repository takes the digests along
 * under which the image was pulled from there: nobody who removes the tag wants to keep them.
 */
export function removalOf(image: Image, name: string | undefined): Removal {
  const all = [...image.repoTags, ...image.repoDigests];
  if (name === undefined) return { names: all, whole: true };
  const names = new Set([name]);
  if (image.repoTags.includes(name)) {
    const repository = name.slice(0, name.lastIndexOf(':'));
    const isLast = !image.repoTags.some((tag) => tag !== name && tag.slice(0, tag.lastIndexOf(':')) === repository);
    const digests = image.repoDigests.filter((digest) => digest.startsWith(`${repository}@`));
    for (const digest of isLast ? digests : []) names.add(digest);
  }
  return { names: [...names], whole: all.every((each) => names.has(each)) };
}
