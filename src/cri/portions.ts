/**
 * The streaming lists (StreamPodSandboxes and so on): the same items as the list of that name in several answers, each
 * item in one of them, none of them empty; an empty list is a stream without answers.
 */

/** An object of Kubernetes has at most 256 KiB of annotations; the kubelet takes messages up to 16 MiB. */
const ITEMS_MAX = 32;

export function* portions<T, R>(items: readonly T[], render: (item: T) => R): Generator<R[]> {
  for (let start = 0; start < items.length; start += ITEMS_MAX) {
    yield items.slice(start, start + ITEMS_MAX).map(render);
  }
}
