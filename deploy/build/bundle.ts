/**
 * `npm run build`: bundles the two programs and the worker programs into dist/, with a launcher for each program that
 * runs it on the Node that npm brought along. Does nothing when no input is newer than the last bundle.
 */
import { chmod, glob, mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { build } from 'esbuild';

const PROGRAMS = ['cairnd', 'cairn'];
const DIST = 'dist';

async function newestInput(): Promise<number> {
  let newest = 0;
  for await (const file of glob(['src/**/*', 'proto/**/*', 'deploy/build/*', 'package-lock.json', 'package.json'])) {
    newest = Math.max(newest, (await stat(file)).mtimeMs);
  }
  return newest;
}

async function builtAt(): Promise<number> {
  return (await stat(`${DIST}/.built`).catch(() => undefined))?.mtimeMs ?? 0;
}

/**
 * Finds the real place of the program behind symbolic links, then the nearest Node that npm installed. Node raises the
 * soft limit of open files before any code of ours runs; containers are to get the one that was there before.
 */
const launcher = (program: string) => `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
for node in "$here/../node_modules/.bin/node" "$here/../../.bin/node" node; do
  command -v "$node" >/dev/null 2>&1 && break
done
CAIRN_NOFILE_SOFT=$(ulimit -Sn) exec "$node" --disable-warning=ExperimentalWarning "$here/${program}.js" "$@"
`;

async function bundle(): Promise<void> {
  await rm(DIST, { recursive: true, force: true });
  await mkdir(DIST);
  const workers = await Array.fromAsync(glob('src/**/*-worker.ts'));
  await build({
    entryPoints: [...PROGRAMS.map((program) => `src/${program}.ts`), ...workers],
    outdir: DIST,
    entryNames: '[name]',
    chunkNames: '[name]-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node26',
    sourcemap: 'linked',
    // koffi finds its native part beside its own files.
    external: ['koffi'],
    banner: {
      js: "import { createRequire as bundleRequire } from 'node:module'; const require = bundleRequire(import.meta.url);",
    },
    logLevel: 'warning',
  });
  for (const program of PROGRAMS) {
    await writeFile(`${DIST}/${program}`, launcher(program));
    await chmod(`${DIST}/${program}`, 0o755);
  }
  await writeFile(`${DIST}/.built`, '');
}

if ((await builtAt()) < (await newestInput())) await bundle();
