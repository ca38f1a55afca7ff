/** containerd as the bench's rival: found on PATH or built from its Go module once, run on roots of its own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, openSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const VERSION = '2.4.2';
const MODULE = 'github.com/containerd/containerd/v2/cmd';
const PROGRAMS = ['containerd', 'containerd-shim-runc-v2'] as const;
const START_TIMEOUT_MS = 20_000;

export interface ContainerdOptions {
  readonly pauseImage: string;
  readonly confDir: string;
  readonly binDirs: readonly string[];
  readonly certsDir: string;
}

export interface Containerd extends AsyncDisposable {
  readonly socket: string;
  readonly version: string;
  readonly process: ChildProcess;
}

export async function startContainerd(options: ContainerdOptions): Promise<Containerd> {
  const bin = findPrograms();
  const directory = await mkdtemp('/tmp/cairn-bench-containerd-');
  const socket = join(directory, 'containerd.sock');
  await writeFile(join(directory, 'config.toml'), configuration(directory, socket, options));
  const log = openSync(join(directory, 'log'), 'a');
  const child = spawn(join(bin, 'containerd'), ['--config', join(directory, 'config.toml')], {
    stdio: ['ignore', log, log],
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH']}` },
  });
  const exited = new Promise((done) => child.once('exit', done));
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (!existsSync(socket)) {
    if (child.exitCode !== null || Date.now() > deadline)
      throw new Error(`containerd did not start: see ${directory}/log`);
    await sleep(50);
  }
  return {
    socket,
    version: VERSION,
    process: child,
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGTERM');
      await exited;
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function findPrograms(): string {
  const cached = resolve('.cache/bin');
  const onPath = (process.env['PATH'] ?? '').split(delimiter);
  const found = [cached, ...onPath].find((bin) => PROGRAMS.every((program) => existsSync(join(bin, program))));
  if (found !== undefined) return found;
  console.error(`building containerd ${VERSION} (once, some minutes)`);
  mkdirSync(cached, { recursive: true });
  for (const program of PROGRAMS) {
    execFileSync('go', ['install', `${MODULE}/${program}@v${VERSION}`], {
      stdio: 'inherit',
      env: { ...process.env, GOBIN: cached },
    });
  }
  return cached;
}

function configuration(directory: string, socket: string, options: ContainerdOptions): string {
  const runtime = "plugins.'io.containerd.cri.v1.runtime'";
  const images = "plugins.'io.containerd.cri.v1.images'";
  return `version = 3
root = '${directory}/root'
state = '${directory}/state'
disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.snapshotter.v1.btrfs', 'io.containerd.snapshotter.v1.zfs']
[grpc]
address = '${socket}'
[ttrpc]
address = '${socket}.ttrpc'
[${runtime}]
restrict_oom_score_adj = true
[${runtime}.cni]
bin_dirs = [${options.binDirs.map((dir) => `'${dir}'`).join(', ')}]
conf_dir = '${options.confDir}'
[${runtime}.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[${runtime}.containerd.runtimes.runc.options]
SystemdCgroup = false
[${images}.registry]
config_path = '${options.certsDir}'
[${images}.pinned_images]
sandbox = '${options.pauseImage}'
`;
}
