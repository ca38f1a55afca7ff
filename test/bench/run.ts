/**
 * `npm run bench`: Cairn against containerd on this machine, in one run: the same runc, CNI plugins and configuration, one
 * local registry, clean roots, samples taken in turn. Prints one table and saves it with its samples below .cache/bench.
 *
 * `--rounds N` sets the number of samples (default 15), `--pull-mb N` the size of each layer of the pulled image.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createRpcClient, type RpcClient } from '../../src/rpc/index.ts';
import { TestDaemon } from '../fixtures/daemon.ts';
import { hostImage } from '../fixtures/host-image.ts';
import { makeImage, makeLayer, makeTar } from '../fixtures/image-maker.ts';
import { startRegistry, type TestRegistry } from '../fixtures/registry.ts';
import { startContainerd } from './containerd.ts';
import { type Line, renderTable, summarise } from './statistics.ts';
import { type PodTimes, pullImage, removeAllPods, removeImage, runOnePod } from './work.ts';

const BIN_DIRS = ['/usr/lib/cni', '/opt/cni/bin'];
const PULL_LAYERS = 6;

const { values: flags } = parseArgs({
  options: { rounds: { type: 'string', default: '15' }, 'pull-mb': { type: 'string', default: '40' } },
});
const rounds = Number(flags.rounds);
const pullLayerBytes = Number(flags['pull-mb']) * 1e6;

/** One network for both: a bridge with masquerading and host ports, as most clusters have it. */
async function writeConflist(directory: string, name: string, subnet: string): Promise<void> {
  const bridge = { type: 'bridge', bridge: name, isGateway: true, ipMasq: true, hairpinMode: true };
  const ipam = {
    type: 'host-local',
    ranges: [[{ subnet }]],
    routes: [{ dst: '0.0.0.0/0' }],
    dataDir: join(directory, '..', 'ipam'),
  };
  const plugins = [
    { ...bridge, ipam },
    { type: 'portmap', capabilities: { portMappings: true } },
  ];
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, '10-bench.conflist'), JSON.stringify({ cniVersion: '1.0.0', name, plugins }));
}

async function pushImages(registry: TestRegistry): Promise<{ tools: string; pause: string; large: string }> {
  await registry.push('bench/tools', hostImage(), '1');
  const catatonit = await readFile('/usr/bin/catatonit');
  const pauseLayer = makeLayer(makeTar([{ path: 'pause', data: catatonit, mode: 0o755 }]));
  await registry.push(
    'bench/pause',
    makeImage({ layers: [pauseLayer], config: { Entrypoint: ['/pause', '-P'] } }),
    '1',
  );
  const layers = Array.from({ length: PULL_LAYERS }, (_, index) => makeLayer(makeTar(fileSet(index))));
  await registry.push('bench/large', makeImage({ layers }), '1');
  return {
    tools: `${registry.host}/bench/tools:1`,
    pause: `${registry.host}/bench/pause:1`,
    large: `${registry.host}/bench/large:1`,
  };
}

/** Files of 64 kB that compress about as programs do: half random, half text. */
function fileSet(layer: number) {
  const size = 64 << 10;
  return Array.from({ length: Math.ceil(pullLayerBytes / size) }, (_, index) => ({
    path: `data${layer}/${Math.floor(index / 100)}/file${index}`,
    data: Buffer.concat([randomBytes(size / 2), Buffer.alloc(size / 2, `line ${index} of a file\n`)]),
  }));
}

async function samplePods(
  cairn: RpcClient,
  containerd: RpcClient,
  image: string,
  cgroupParent: string,
): Promise<Line[]> {
  const samples: Record<'cairn' | 'containerd', PodTimes[]> = { cairn: [], containerd: [] };
  for (let round = -1; round < rounds; round++) {
    // In turn, and the first in turn as well: neither always runs on the other's warm caches. Round -1 warms up.
    const order = round % 2 === 0 ? (['cairn', 'containerd'] as const) : (['containerd', 'cairn'] as const);
    for (const side of order) {
      const times = await runOnePod(
        side === 'cairn' ? cairn : containerd,
        image,
        `bench-${side}-${round}`,
        cgroupParent,
      );
      if (round >= 0) samples[side].push(times);
    }
  }
  const works = Object.keys(samples.cairn[0] ?? {}) as (keyof PodTimes)[];
  return works.map((work) => ({
    work,
    cairn: samples.cairn.map((times) => times[work]),
    containerd: samples.containerd.map((times) => times[work]),
  }));
}

async function samplePulls(cairn: RpcClient, containerd: RpcClient, image: string): Promise<Line> {
  const samples: Record<'cairn' | 'containerd', number[]> = { cairn: [], containerd: [] };
  for (let round = 0; round < Math.max(3, Math.floor(rounds / 5)); round++) {
    for (const side of ['cairn', 'containerd'] as const) {
      const rpc = side === 'cairn' ? cairn : containerd;
      samples[side].push(await pullImage(rpc, image));
      await removeImage(rpc, image);
    }
  }
  return { work: `pull, ${PULL_LAYERS} layers of ${flags['pull-mb']} MB, gzip`, ...samples };
}

async function main(): Promise<void> {
  execFileSync('npm', ['run', '--silent', 'build'], { stdio: 'inherit' });
  const scratch = await mkdtemp('/tmp/cairn-bench-');
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(scratch, { recursive: true, force: true }));
  const registry = stack.use(await startRegistry());
  const images = await pushImages(registry);
  const confDir = join(scratch, 'net.d');
  await writeConflist(confDir, 'cbench0', '10.251.0.0/16');
  stack.defer(() => void execFileSync('ip', ['link', 'delete', 'cbench0'], { stdio: 'ignore' }));
  const daemon = stack.use(await TestDaemon.create({ embeddedNetwork: false }));
  await writeConflist(daemon.confDirectory, 'cbench0', '10.251.0.0/16');
  const rival = stack.use(
    await startContainerd({ pauseImage: images.pause, confDir, binDirs: BIN_DIRS, certsDir: join(scratch, 'certs.d') }),
  );
  const cairn = stack.use(createRpcClient({ address: `unix://${daemon.socket}` }));
  const containerd = stack.use(createRpcClient({ address: `unix://${rival.socket}` }));
  // containerd's shims and mounts outlive it.
  stack.defer(() => removeAllPods(containerd));
  for (const rpc of [cairn, containerd]) await pullImage(rpc, images.tools);

  const lines = [
    ...(await samplePods(cairn, containerd, images.tools, daemon.cgroupParent)),
    await samplePulls(cairn, containerd, images.large),
  ];
  const rows = lines.map(summarise);
  const date = new Date().toISOString().slice(0, 10);
  const machine = `${cpus().length} cores, Linux ${release()}, containerd ${rival.version}, Node ${process.version}`;
  console.log(`\n${date}, ${machine}; times in ms, ratio = Cairn / containerd\n\n${renderTable(rows)}`);
  const file = join('.cache', 'bench', `${new Date().toISOString().replaceAll(':', '-')}.json`);
  await mkdir(join('.cache', 'bench'), { recursive: true });
  await writeFile(file, JSON.stringify({ date, machine, rows, lines }, undefined, 2));
  console.log(`\nsamples: ${file}`);
}

try {
  await main();
} catch (error) {
  // What failed first is behind what failed while everything was taken down.
  console.error(error instanceof SuppressedError ? error.suppressed : error);
  process.exitCode = 1;
}
