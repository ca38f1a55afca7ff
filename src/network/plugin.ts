/**
 * Runs one CNI plugin (spec 1.1, section 2): parameters in the environment, configuration on stdin, a JSON answer on
 * stdout. A failure keeps the plugin's own words and says which plugin and command it was.
 */
import { access, constants } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, type ErrorKind, errnoOf, isCairnError, messageOf } from '../base/errors.ts';
import { runProcess } from '../linux/index.ts';
import { DEFAULT_PATH } from './command.ts';
import type { PluginConfig } from './conflist.ts';
import { isRecord, type JsonRecord, textIn } from './json.ts';

export type Command = 'ADD' | 'DEL' | 'CHECK' | 'GC';

export interface PluginCall {
  readonly command: Command;
  readonly plugin: PluginConfig;
  /** Name of the network, for messages. */
  readonly network: string;
  /** This and the next three are empty for GC, which is about no single attachment. */
  readonly containerId: string;
  /** Empty (DEL only): the namespace is gone. */
  readonly netnsPath: string;
  readonly interfaceName: string;
  /** CNI_ARGS. */
  readonly args: string;
  /** The configuration for stdin. */
  readonly configuration: JsonRecord;
}

export interface PluginRunnerOptions {
  /** Searched in order. */
  readonly binDirs: readonly string[];
  /** A plugin that takes longer is killed. */
  readonly timeoutMs: number;
}

export interface PluginRunner {
  /** The plugin's answer; undefined when it printed nothing, as DEL and CHECK do. */
  run(call: PluginCall, signal?: AbortSignal): Promise<JsonRecord | undefined>;
  /** Where the plugin's program is; undefined when no directory has it. */
  find(type: string): Promise<string | undefined>;
}

const OUTPUT_BYTES_MAX = 1024 * 1024;
/** As much of its output as a message carries. */
const WORDS_SHOWN_MAX = 1000;
/** Codes of the CNI spec that say more than "it failed": the configuration is wrong; try again later. */
const KIND_OF_CODE: Readonly<Record<number, ErrorKind>> = {
  1: 'FailedPrecondition',
  2: 'FailedPrecondition',
  7: 'FailedPrecondition',
  11: 'Unavailable',
};
/** The daemon's own talk with its service manager is not the plugins' business. */
const PRIVATE_VARIABLES = new Set(['NOTIFY_SOCKET', 'LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', 'WATCHDOG_USEC']);

export function createPluginRunner(options: PluginRunnerOptions): PluginRunner {
  const found = new Map<string, string>();
  const inherited = inheritedEnvironment();

  async function find(type: string): Promise<string | undefined> {
    // What was found once is not looked for again: a plugin that vanished since fails at the spawn.
    const known = found.get(type);
    if (known !== undefined && (await isExecutable(known))) return known;
    for (const directory of options.binDirs) {
      const path = join(directory, type);
      if (!(await isExecutable(path))) continue;
      found.set(type, path);
      return path;
    }
    found.delete(type);
    return undefined;
  }

  async function run(call: PluginCall, signal?: AbortSignal): Promise<JsonRecord | undefined> {
    const path = await find(call.plugin.type);
    if (path === undefined) {
      throw failure(call, 'FailedPrecondition', `not found in ${options.binDirs.join(', ')}`);
    }
    const { code, signal: killedBy, stdout, stderr } = await spawnPlugin(path, call, signal);
    const answer = parseAnswer(stdout);
    if (code === 0 && killedBy === null) {
      if (answer === 'broken') throw failure(call, 'Unknown', `its answer is not JSON: ${shown(stdout)}`);
      return answer;
    }
    if (answer !== undefined && answer !== 'broken') throw errorAnswer(call, answer);
    const end = killedBy === null ? `exit code ${code}` : `killed by signal ${killedBy}`;
    throw failure(call, 'Unknown', [end, shown(stderr) || shown(stdout)].filter(Boolean).join(': '));
  }

  async function spawnPlugin(path: string, call: PluginCall, signal: AbortSignal | undefined) {
    try {
      return await runProcess({
        file: path,
        args: [],
        env: {
          ...inherited,
          CNI_COMMAND: call.command,
          // GC is about no attachment: plugins refuse these with it.
          ...(call.command === 'GC' ? {} : attachmentVariables(call)),
          CNI_PATH: options.binDirs.join(':'),
        },
        stdinData: JSON.stringify(call.configuration),
        outputBytesMax: OUTPUT_BYTES_MAX,
        timeoutMs: options.timeoutMs,
        signal,
      });
    } catch (error) {
      if (isCairnError(error)) throw failure(call, error.kind, error.message, error);
      if (errnoOf(error) !== undefined) throw failure(call, 'FailedPrecondition', messageOf(error), error);
      throw error;
    }
  }

  return { run, find };
}

function attachmentVariables(call: PluginCall): Record<string, string> {
  return {
    CNI_CONTAINERID: call.containerId,
    CNI_NETNS: call.netnsPath,
    CNI_IFNAME: call.interfaceName,
    CNI_ARGS: call.args,
  };
}

function inheritedEnvironment(): Record<string, string> {
  const environment: Record<string, string> = { PATH: DEFAULT_PATH };
  for (const [name, value] of Object.entries(process.env)) {
    if (value && !PRIVATE_VARIABLES.has(name) && !name.startsWith('CNI_')) environment[name] = value;
  }
  return environment;
}

function parseAnswer(stdout: Buffer): JsonRecord | 'broken' | undefined {
  const text = stdout.toString('utf8').trim();
  if (text === '') return undefined;
  try {
    const answer: unknown = JSON.parse(text);
    return isRecord(answer) ? answer : 'broken';
  } catch {
    return 'broken';
  }
}

/** The plugin's error object: code, msg and details (CNI spec 1.1, section 5, "Error"). */
function errorAnswer(call: PluginCall, answer: JsonRecord): CairnError {
  const code = typeof answer['code'] === 'number' ? answer['code'] : 0;
  const words = [textIn(answer, 'msg'), textIn(answer, 'details')].filter(Boolean).join('; ');
  return failure(call, KIND_OF_CODE[code] ?? 'Unknown', `${words || 'no reason given'} (CNI code ${code})`);
}

function failure(call: PluginCall, kind: ErrorKind, reason: string, cause?: unknown): CairnError {
  return new CairnError(kind, `network ${call.network}: plugin ${call.plugin.type}: ${call.command}: ${reason}`, {
    step: `network.${call.command.toLowerCase()}`,
    cause,
  });
}

function shown(output: Buffer): string {
  return output.toString('utf8').trim().slice(-WORDS_SHOWN_MAX);
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
