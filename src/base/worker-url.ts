/**
 * Where a worker's program is: beside its module in the source tree (`.ts`), beside the bundle in `dist` (`.js`).
 * `name` is relative to `importerUrl`, without ending; in the bundle only its last part counts.
 */
export function workerUrl(name: string, importerUrl: string): URL {
  if (importerUrl.endsWith('.ts')) return new URL(`${name}.ts`, importerUrl);
  return new URL(`./${name.slice(name.lastIndexOf('/') + 1)}.js`, importerUrl);
}
