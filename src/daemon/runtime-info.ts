/** What the configured OCI runtimes say of themselves (`features` and `--version`), asked once at start. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { messageOf } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { RuntimeHandler } from '../task/index.ts';

const TIMEOUT_MS = 5_000;
const OUTPUT_BYTES_MAX = 1 << 20;
const run = promisify(execFile);

export interface RuntimeInfo {
  readonly name: string;
  readonly path: string;
  /** Empty when the runtime does not answer. */
  readonly version: string;
  readonly features: { readonly recursiveReadOnlyMounts: boolean; readonly userNamespaces: boolean };
}

/** The part of the OCI runtime spec's features.md that matters here. */
interface Features {
  readonly mountOptions?: readonly string[];
  readonly linux?: {
    readonly namespaces?: readonly string[];
    readonly mountExtensions?: { readonly idmap?: { readonly enabled?: boolean } };
  };
}

/** A runtime that is missing or does not answer is reported, not refused: it may be installed later. */
export function readRuntimes(runtimes: Iterable<RuntimeHandler>, log: Logger): Promise<RuntimeInfo[]> {
  return Promise.all(Array.from(runtimes, (runtime) => readRuntime(runtime, log)));
}

async function readRuntime({ name, path }: RuntimeHandler, log: Logger): Promise<RuntimeInfo> {
  const ask = async (argument: string) => {
    const { stdout } = await run(path, [argument], { timeout: TIMEOUT_MS, maxBuffer: OUTPUT_BYTES_MAX });
    return stdout;
  };
  const [version, features] = await Promise.allSettled([ask('--version'), ask('features').then(parseFeatures)]);
  if (version.status === 'rejected') {
    const message = `the runtime ${name} (${path}) does not answer; \`cairn doctor\` tells more`;
    log.warn({ runtime: name, reason: messageOf(version.reason) }, message);
  }
  const known = features.status === 'fulfilled' ? features.value : {};
  return {
    name,
    path,
    version: version.status === 'fulfilled' ? (/version (\S+)/.exec(version.value)?.[1] ?? '') : '',
    features: {
      recursiveReadOnlyMounts: known.mountOptions?.includes('rro') ?? false,
      // Volumes of a user namespace need the runtime to map their IDs.
      userNamespaces: known.linux?.mountExtensions?.idmap?.enabled ?? false,
    },
  };
}

function parseFeatures(json: string): Features {
  const value: unknown = JSON.parse(json);
  return typeof value === 'object' && value !== null ? value : {};
}
