/** `cairnd`: the daemon, and its configuration's little helpers. */
import { parseArgs } from 'node:util';
import { isCairnError, messageOf } from './base/errors.ts';
import { VERSION } from './base/version.ts';
import { DEFAULT_CONFIG_FILE, loadConfig, renderDefaultFile } from './config/index.ts';
import { checkConfig, createLogger, runDaemon, tearDown } from './daemon/index.ts';

const USAGE = `Usage: cairnd [flags]                  serve until SIGTERM
       cairnd config default         print a commented default configuration
       cairnd config check [flags]   say whether the configuration is good
       cairnd teardown [flags]       remove all pods and the embedded network; images stay
       cairnd version

Flags, each also a key of the file and a CAIRN_ variable (CAIRN_LOG_LEVEL):
  --config FILE                configuration file (default ${DEFAULT_CONFIG_FILE}, if there is one)
  --root DIR                   what survives a reboot
  --state DIR                  what belongs to the running system
  --listen unix:///PATH        the gRPC socket
  --metrics-address HOST:PORT  where /metrics is served
  --log-level LEVEL            trace, debug, info, warn, error or fatal
`;

const FLAGS = ['root', 'state', 'listen', 'metrics-address', 'log-level'] as const;

class UsageError extends Error {}

function parseCommandLine() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        config: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
        version: { type: 'boolean' },
        ...(Object.fromEntries(FLAGS.map((flag) => [flag, { type: 'string' }])) as Record<
          (typeof FLAGS)[number],
          { type: 'string' }
        >),
      },
    });
    return { values, command: positionals.join(' ') };
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

async function main(): Promise<void> {
  const { values, command } = parseCommandLine();
  if (values.help) return print(USAGE);
  if (values.version || command === 'version') return print(`cairnd ${VERSION}\n`);
  if (command === 'config default') return print(renderDefaultFile());
  if (!['', 'config check', 'teardown'].includes(command))
    throw new UsageError(`unknown command ${JSON.stringify(command)}`);

  const flags = new Map(
    FLAGS.flatMap((flag) => {
      const text = values[flag];
      return text === undefined ? [] : [[flag.replace('-', '_'), { text, place: `--${flag}` }] as const];
    }),
  );
  const config = await loadConfig({ file: values.config, environment: process.env, flags });
  checkConfig(config);
  if (command === 'config check') return print('the configuration is good\n');
  const log = await createLogger({ level: config.logLevel, format: config.logFormat });
  process.on('uncaughtException', (error) => {
    // A bug: what is in memory can't be trusted any more. Containers go on, and the next start brings all together again.
    log.fatal({ err: error }, `cairnd ends because of a bug: ${messageOf(error)}`);
    process.exit(1);
  });
  try {
    if (command === 'teardown') {
      const { podsRemoved } = await tearDown(config, log);
      print(`removed ${podsRemoved} pods and the embedded network\n`);
    } else {
      await runDaemon(config, values.config ?? process.env['CAIRN_CONFIG'] ?? DEFAULT_CONFIG_FILE, log);
    }
  } catch (error) {
    log.fatal({ err: error }, `cairnd ends: ${messageOf(error)}`);
    process.exitCode = isCairnError(error, 'InvalidArgument') ? 2 : 1;
  }
  // conmons are children that outlive us, and a watched child would keep the event loop.
  process.exit();
}

function print(text: string): void {
  process.stdout.write(text);
}

try {
  await main();
} catch (error) {
  const usage = error instanceof UsageError ? `\n${USAGE}` : '';
  process.stderr.write(`cairnd: ${messageOf(error)}\n${usage}`);
  process.exitCode = error instanceof UsageError || isCairnError(error) ? 2 : 1;
}
