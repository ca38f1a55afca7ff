/**
 * Turns proto/ into src/generated/: for each API one module, `NAME.js` with its types in `NAME.d.ts`.
 *
 * The codecs are protobufjs-cli's static code, encode and decode only; the types and the tables of methods (`Method` of
 * src/rpc) are written here from the same parsed files. Does nothing when no input changed, so every script may call it.
 */
import { createHash } from 'node:crypto';
import { glob, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Namespace } from 'protobufjs';
import { renderMethods, renderTypes } from './proto-types.ts';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const OUTPUT = join(PROJECT, 'src/generated');
const STAMP = join(OUTPUT, '.inputs');

interface Api {
  /** The module's name under src/generated. */
  readonly name: string;
  readonly package: string;
  /** Relative to proto/; what they import is found from there. */
  readonly files: readonly string[];
}

const APIS: readonly Api[] = [
  { name: 'cri', package: 'runtime.v1', files: ['cri/v1/runtime.proto', 'cri/v1/image.proto'] },
  { name: 'cairn', package: 'cairn.v1', files: ['cairn.proto'] },
];

/** What the output depends on: the protos, the two generator files and the versions of protobufjs and its CLI. */
async function inputsDigest(): Promise<string> {
  const files = await Array.fromAsync(glob('proto/**/*.proto', { cwd: PROJECT }));
  files.sort();
  files.push('deploy/build/generate.ts', 'deploy/build/proto-types.ts');
  files.push('node_modules/protobufjs/package.json', 'node_modules/protobufjs-cli/package.json');
  const hash = createHash('sha256');
  for (const file of files) hash.update(`${file}\0`).update(await readFile(join(PROJECT, file)));
  return hash.digest('hex');
}

/** A package's messages, enums and services without the package around them: the module is the namespace. */
async function load(api: Api): Promise<Namespace> {
  const { default: protobuf } = await import('protobufjs');
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => join(PROJECT, 'proto', target);
  root.loadSync([...api.files]);
  root.resolveAll();
  return root.lookup(api.package) as Namespace;
}

async function codecs(api: Api, contents: Namespace, scratch: string): Promise<string> {
  const { nested = {} } = contents.toJSON();
  const messages = Object.fromEntries(Object.entries(nested).filter(([, item]) => !('methods' in item)));
  const input = join(scratch, `${api.name}.json`);
  await writeFile(input, JSON.stringify({ nested: messages }));
  const { default: pbjs } = await import('protobufjs-cli/pbjs.js');
  const without = ['comments', 'create', 'verify', 'convert', 'delimited', 'typeurl', 'service'];
  return new Promise((resolve, reject) => {
    const args = ['-t', 'static-module', '-w', 'esm', '--es6', '--force-long', '--root', api.package, input];
    pbjs.main([...without.map((feature) => `--no-${feature}`), ...args], (error, output) => {
      if (error || output === undefined) reject(error ?? new Error(`pbjs made nothing of ${api.name}`));
      else resolve(output);
    });
  });
}

const IMPORT = 'import $protobuf from "protobufjs/minimal.js";\n';

/**
 * protobufjs looks for `long` at run time and falls back to doubles, which would cut 64-bit numbers: in a bundle it may
 * not find it, and in the source tree it finds the CommonJS twin of the module that everybody else imports.
 */
function withLong(code: string): string {
  if (!code.includes(IMPORT)) throw new Error('pbjs no longer imports protobufjs as expected');
  return code.replace(
    IMPORT,
    `${IMPORT}import Long from "long";\n$protobuf.util.Long = Long;\n$protobuf.configure();\n`,
  );
}

async function replaceFile(name: string, text: string): Promise<void> {
  const temporary = join(OUTPUT, `.${name}.${process.pid}`);
  await writeFile(temporary, text);
  await rename(temporary, join(OUTPUT, name));
}

const digest = await inputsDigest();
if (digest !== (await readFile(STAMP, 'utf8').catch(() => ''))) {
  await mkdir(OUTPUT, { recursive: true });
  const scratch = await mkdtemp(join(tmpdir(), 'cairn-generate-'));
  try {
    for (const api of APIS) {
      const contents = await load(api);
      const code = await codecs(api, contents, scratch);
      await replaceFile(`${api.name}.js`, `${withLong(code)}\n${renderMethods(api.package, contents)}`);
      await replaceFile(`${api.name}.d.ts`, renderTypes(api.package, contents));
    }
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
  await replaceFile('.inputs', digest);
}
