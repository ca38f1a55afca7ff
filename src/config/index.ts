/**
 * Configuration: one validated, frozen object out of defaults, a TOML file with drop-ins, CAIRN_ variables and flags.
 *
 * An unknown key or a wrong value is an error that names its file and line, and what is allowed.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../base/errors.ts';
import { type LayerSources, mergeLayers } from './layers.ts';
import type { Config } from './settings.ts';
import { readToml, type TomlFile } from './toml.ts';

export { renderDefaultFile } from './default-file.ts';
export { type Config, LOG_LEVELS } from './settings.ts';

/** Read when no `--config` and no CAIRN_CONFIG says otherwise, and then only if it exists. */
export const DEFAULT_CONFIG_FILE = '/etc/cairn/config.toml';

export interface LoadOptions {
  /** The file named by the user: it must exist. Undefined: the default file, if there. */
  readonly file: string | undefined;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly flags: LayerSources['flags'];
}

/** Loads and checks the configuration. Throws InvalidArgument (places and allowed values in the message) or NotFound. */
export async function loadConfig(options: LoadOptions): Promise<Config> {
  const files = await readFiles(options.file ?? options.environment['CAIRN_CONFIG']);
  const config = mergeLayers({ files, environment: options.environment, flags: options.flags });
  return config;
}

/** The socket that a configuration means, as a path. */
export function socketPath(config: Config): string {
  return config.listen === '' ? join(config.state, 'cairn.sock') : config.listen.slice('unix://'.length);
}

async function readFiles(named: string | undefined): Promise<TomlFile[]> {
  const main = named ?? DEFAULT_CONFIG_FILE;
  const files: TomlFile[] = [];
  if (named !== undefined || (await exists(main))) files.push(await readToml(main));
  for (const name of await listDropIns(`${main}.d`)) files.push(await readToml(join(`${main}.d`, name)));
  return files;
}

async function exists(file: string): Promise<boolean> {
  return (await listDirectory(join(file, '..'))).includes(file.slice(file.lastIndexOf('/') + 1));
}

async function listDropIns(directory: string): Promise<string[]> {
  return (await listDirectory(directory)).filter((name) => name.endsWith('.toml')).sort();
}

async function listDirectory(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
