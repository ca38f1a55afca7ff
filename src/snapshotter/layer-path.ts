/**
 * The one door for names out of an archive: what passes is a path inside the layer.
 *
 * A leading slash is dropped, as every peer does; a name that climbs out of the layer is refused. Whether the elements of
 * the path are directories or symlinks is another question, which `layer-tree.ts` answers while it walks.
 */
import { refusedArchive } from './archive-error.ts';
import { type ByteString, readable } from './byte-string.ts';

/** Relative, without empty, `.` and `..` elements; the empty path is the root of the layer. */
export type LayerPath = ByteString & { readonly __layerPath: true };

export const LAYER_ROOT = '' as LayerPath;

const ELEMENT_BYTES_MAX = 255;

export function layerPath(unsafeName: ByteString): LayerPath {
  if (unsafeName.includes('\0')) throw refusedArchive(`the name ${readable(unsafeName)} holds a NUL`);
  // Most names are in order: no second string for them.
  if (IN_ORDER.test(unsafeName) && !unsafeName.split('/').some(isTooLong)) return unsafeName as LayerPath;
  const elements: string[] = [];
  for (const element of unsafeName.split('/')) {
    if (element === '' || element === '.') continue;
    if (element === '..') {
      if (elements.pop() === undefined) throw refusedArchive(`the name ${readable(unsafeName)} leaves the layer`);
      continue;
    }
    if (isTooLong(element)) throw refusedArchive(`an element of ${readable(unsafeName)} is too long`);
    elements.push(element);
  }
  return elements.join('/') as LayerPath;
}

/** No element is empty or begins with a dot. */
const IN_ORDER = /^(?:[^/.][^/]*\/)*[^/.][^/]*$/;

function isTooLong(element: string): boolean {
  return element.length > ELEMENT_BYTES_MAX;
}

/** The directory that holds `path`. */
export function parentOf(path: LayerPath): LayerPath {
  return path.slice(0, Math.max(0, path.lastIndexOf('/'))) as LayerPath;
}

/** The last element; empty for the root. */
export function baseOf(path: LayerPath): ByteString {
  return path.slice(path.lastIndexOf('/') + 1) as ByteString;
}

/** `name` is one element. */
export function joinPath(parent: LayerPath, name: ByteString): LayerPath {
  return (parent === '' ? name : `${parent}/${name}`) as LayerPath;
}

/** True for what lies below `ancestor`, not for `ancestor` itself. */
export function isBelow(path: LayerPath, ancestor: LayerPath): boolean {
  return ancestor === '' ? path !== '' : path.startsWith(`${ancestor}/`);
}
