/**
 * Builds the kubelet that `npm run test:kubelet` runs, from its Go module, into .cache/bin/kubelet: some four minutes on
 * two cores the first time, nothing when it is there. A kubelet on PATH is taken instead when it is of this very version.
 *
 * The module lives with unpublished neighbours ("staging"): its go.mod replaces each of them by a directory that only its
 * repository has. Here each is replaced by its published module of the same release.
 */
import { execFile, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const MODULE = 'k8s.io/kubernetes';
export const KUBELET_VERSION = 'v1.36.3';
const STAGING_VERSION = KUBELET_VERSION.replace(/^v1/, 'v0');
/** What the module's go.mod asks for. */
const GO_MINIMUM = [1, 26] as const;
const CACHE = resolve(import.meta.dirname, '../../.cache/bin');
const KUBELET = join(CACHE, 'kubelet');

/** Where the kubelet is, once this program has run; undefined when it has not. */
export async function findKubelet(): Promise<string | undefined> {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).map((directory) => join(directory, 'kubelet'));
  for (const file of [KUBELET, ...onPath]) if (await isRightVersion(file)) return file;
  return undefined;
}

async function isRightVersion(file: string): Promise<boolean> {
  try {
    return (await run(file, ['--version'])).stdout.trim() === `Kubernetes ${KUBELET_VERSION}`;
  } catch {
    return false;
  }
}

/** Refuses with one line where Go is missing or too old. */
async function checkGo(): Promise<void> {
  const needed = `${GO_MINIMUM.join('.')} or later is needed to build the kubelet ${KUBELET_VERSION}`;
  const version = await run('go', ['env', 'GOVERSION']).catch(() => undefined);
  if (!version) throw new Error(`no Go on this machine; Go ${needed}`);
  const [, major, minor] = /^go(\d+)\.(\d+)/.exec(version.stdout) ?? [];
  const isNewEnough =
    Number(major) > GO_MINIMUM[0] || (Number(major) === GO_MINIMUM[0] && Number(minor) >= GO_MINIMUM[1]);
  if (!isNewEnough) throw new Error(`this machine has ${version.stdout.trim()}; Go ${needed}`);
}

async function build(): Promise<void> {
  await checkGo();
  await mkdir(CACHE, { recursive: true });
  const directory = await mkdtemp(join(CACHE, '.kubelet-'));
  try {
    await buildIn(directory);
    await rename(join(directory, 'kubelet'), KUBELET);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function buildIn(directory: string): Promise<void> {
  const env = { ...process.env, GOFLAGS: `${process.env['GOFLAGS'] ?? ''} -mod=mod`.trim() };
  const go = (...args: string[]) => {
    const { status, stderr } = spawnSync('go', args, { cwd: directory, env, encoding: 'utf8' });
    if (status !== 0) throw new Error(`go ${args[0]} failed: ${stderr.trim()}`);
  };
  const download = await run('go', ['mod', 'download', '-json', `${MODULE}@${KUBELET_VERSION}`], {
    cwd: directory,
    env,
  });
  const { Dir: source } = JSON.parse(download.stdout) as { readonly Dir: string };
  const staging = stagingModules(await readFile(join(source, 'go.mod'), 'utf8'));
  const goMod = [
    'module kubelet',
    `go ${GO_MINIMUM.join('.')}`,
    `require ${MODULE} ${KUBELET_VERSION}`,
    ...staging.map((name) => `replace ${name} => ${name} ${STAGING_VERSION}`),
  ];
  await writeFile(join(directory, 'go.mod'), `${goMod.join('\n')}\n`);
  // The program must be named somewhere, so that `go get` finds the modules of its packages.
  await writeFile(
    join(directory, 'main.go'),
    `package main\n\nimport _ "${MODULE}/cmd/kubelet/app"\n\nfunc main() {}\n`,
  );
  go('get', `${MODULE}/cmd/kubelet@${KUBELET_VERSION}`);
  const [, minor] = KUBELET_VERSION.split('.');
  const stamp = { gitVersion: KUBELET_VERSION, gitMajor: '1', gitMinor: minor, gitTreeState: 'clean' };
  const stamps = Object.entries(stamp).map(([key, value]) => `-X k8s.io/component-base/version.${key}=${value}`);
  go('build', '-ldflags', ['-s', '-w', ...stamps].join(' '), '-o', 'kubelet', `${MODULE}/cmd/kubelet`);
}

/** The modules that a go.mod replaces by directories of its repository. */
function stagingModules(goMod: string): string[] {
  return [...goMod.matchAll(/^\s*(?:replace )?(\S+) => \.\/staging\/\S+$/gm)].map(([, name]) => name ?? '');
}

if (process.argv[1] === import.meta.filename && (await findKubelet()) === undefined) {
  console.log(`building the kubelet ${KUBELET_VERSION} (about four minutes, once)`);
  try {
    await build();
  } catch (error) {
    console.error(`test:kubelet: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
