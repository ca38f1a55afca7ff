/** A small image from what this machine has: a shell, a few tools and the libraries that they load. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';

export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly data: Buffer;
}

export interface HostImage {
  readonly manifest: Blob;
  /** Config and layers. */
  readonly blobs: readonly Blob[];
}

const TOOLS = [
  ...['cat', 'date', 'dd', 'env', 'false', 'head', 'hostname', 'id', 'ip', 'ls', 'mount', 'ps', 'sh', 'sleep', 'stat'],
  ...['stty', 'tail', 'true', 'uname', 'wc'],
];

/** Makes the image in memory (a few megabytes); `command` is what it runs by default. */
export function makeHostImage(command: readonly string[]): HostImage {
  const tar = packRootFilesystem();
  const layer = blob('application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(tar));
  const config = jsonBlob('application/vnd.oci.image.config.v1+json', {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Env: ['PATH=/usr/bin:/bin'], Cmd: command, WorkingDir: '/', StopSignal: 'SIGTERM' },
    rootfs: { type: 'layers', diff_ids: [digestOf(tar)] },
    history: [{ created_by: 'npm run up: tools of this machine' }],
  });
  const describe = ({ mediaType, digest, data }: Blob) => ({ mediaType, digest, size: data.length });
  const manifest = jsonBlob('application/vnd.oci.image.manifest.v1+json', {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: describe(config),
    layers: [describe(layer)],
  });
  return { manifest, blobs: [config, layer] };
}

/** A tar of the root file system, without the image around it. */
export function packRootFilesystem(): Buffer {
  const root = mkdtempSync(join(tmpdir(), 'cairn-image-'));
  try {
    for (const directory of ['usr/bin', 'usr/lib', 'usr/lib64', 'etc', 'tmp', 'root'])
      mkdirSync(join(root, directory), { recursive: true });
    for (const link of ['bin', 'lib', 'lib64']) symlinkSync(`usr/${link}`, join(root, link));
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
    writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
    for (const [source, name] of filesToCopy()) {
      const target = join(root, realDirectory(name));
      mkdirSync(dirname(target), { recursive: true });
      execFileSync('cp', ['--dereference', '--preserve=mode', source, target]);
    }
    const options = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
    return execFileSync('tar', [...options, '-c', '-C', root, '.'], { maxBuffer: 1 << 28 });
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** What to copy, by its name in the image: tools that this machine has, and their libraries. */
function filesToCopy(): Map<string, string> {
  const files = new Map<string, string>();
  for (const tool of TOOLS) {
    const found = (process.env['PATH'] ?? '')
      .split(delimiter)
      .map((directory) => join(directory, tool))
      .find(isThere);
    if (found === undefined) continue;
    files.set(found, `/usr/bin/${tool}`);
    for (const library of librariesOf(found)) files.set(library, library);
  }
  return files;
}

function librariesOf(program: string): string[] {
  try {
    const output = execFileSync('ldd', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return [...output.matchAll(/(\/\S+) \(0x/g)].map(([, path]) => path ?? '');
  } catch {
    return [];
  }
}

/** Where a path lies in an image whose /bin and /lib are links into /usr. */
function realDirectory(path: string): string {
  return path.replace(/^\/(bin|lib|lib64)\//, '/usr/$1/');
}

function isThere(path: string): boolean {
  try {
    realpathSync(path);
    return true;
  } catch {
    return false;
  }
}

function jsonBlob(mediaType: string, value: unknown): Blob {
  return blob(mediaType, Buffer.from(JSON.stringify(value)));
}

function blob(mediaType: string, data: Buffer): Blob {
  return { mediaType, digest: digestOf(data), data };
}

function digestOf(data: Buffer): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}
