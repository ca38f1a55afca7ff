/** The command line: names, flags and help of every command. What a command does lies in its own file. */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { loadConfig, socketPath } from '../config/index.ts';
import { logsCommand, podsCommand, psCommand, rmCommand, stopCommand } from './container-commands.ts';
import { type Context, fail, runCommand } from './context.ts';
import { imagesCommand, pullCommand, rmiCommand } from './image-commands.ts';
import { infoCommand, versionCommand } from './info-commands.ts';
import { requestsCommand } from './requests-command.ts';
import { runCommandOf } from './run-command.ts';

const USAGE_EXIT = 2;
const STOP_SECONDS = 10;

interface GlobalFlags {
  readonly config?: string;
  readonly listen?: string;
}

export function createProgram(version: string): Command {
  const program = new Command('cairn')
    .description('Images, containers and pods of the local cairnd.')
    .version(version, '--version', 'print the version of this program')
    .addOption(new Option('--config <file>', 'configuration file of cairnd').env('CAIRN_CONFIG'))
    .option('--listen <unix:///path>', 'the socket of cairnd (default: from its configuration)')
    .showHelpAfterError('(cairn --help tells more)')
    .configureHelp({ sortSubcommands: true })
    // Options after the image belong to the container's command.
    .enablePositionalOptions();

  const settings = () => {
    const { config, listen } = program.opts<GlobalFlags>();
    const flags = new Map(listen === undefined ? [] : [['listen', { text: listen, place: '--listen' }] as const]);
    return loadConfig({ file: config, environment: process.env, flags });
  };
  const run = async (work: (context: Context) => Promise<number | undefined>) => {
    await runCommand(socketPath(await settings()), work);
  };

  program
    .command('version')
    .description('versions of this program and of the daemon')
    .option('--json', 'as JSON')
    .action((flags) => run((context) => versionCommand(context, version, flags)));
  program
    .command('info')
    .description('what the daemon is, where its files are and what it holds')
    .option('--json', 'as JSON')
    .action((flags) => run((context) => infoCommand(context, flags)));
  program
    .command('requests')
    .description('what the daemon is at work on: the stage of each request and the time in it')
    .option('--json', 'as JSON')
    .action((flags) => run((context) => requestsCommand(context, flags)));
  program
    .command('doctor')
    .description('check that this host can run Cairn; needs no daemon')
    .option('--json', 'as JSON')
    .action(async (flags) => {
      const { doctorCommand } = await import('./doctor/index.ts');
      process.exitCode = await doctorCommand({ config: await settings(), json: flags.json ?? false });
    });

  addImageCommands(program, run);
  addContainerCommands(program, run);
  return program;
}

type Run = (work: (context: Context) => Promise<number | undefined>) => Promise<void>;

function addImageCommands(program: Command, run: Run): void {
  program
    .command('pull')
    .description('pull an image')
    .argument('<image>', 'name, with :tag or @digest')
    .option('-q, --quiet', 'no progress')
    .option('--creds <user:password>', 'credentials for the registry')
    .option('--json', 'the result as JSON')
    .action((image, flags) => run((context) => pullCommand(context, image, flags)));
  program
    .command('images')
    .description('list images')
    .argument('[image]', 'only this one')
    .option('-q, --quiet', 'only IDs')
    .option('--digests', 'show manifest digests')
    .option('--json', 'as JSON')
    .action((image, flags) => run((context) => imagesCommand(context, image, flags)));
  program
    .command('rmi')
    .description('remove names of images, and images with their last name')
    .argument('<image...>', 'name, digest or ID')
    .action((images) => run((context) => rmiCommand(context, images)));
}

function addContainerCommands(program: Command, run: Run): void {
  program
    .command('run')
    .description('run a command in a new container, in a pod of its own')
    .argument('<image>', 'pulled when it is not here')
    .argument('[command...]', "instead of the image's command")
    .option('--rm', 'remove container and pod when it has ended')
    .option('-d, --detach', 'print the ID and leave it running')
    .option('--name <name>', 'name of container and pod')
    .option('-e, --env <name=value>', 'environment variable; may be repeated', collect, [])
    .option('-w, --workdir <dir>', 'working directory')
    .option('--host-network', "use the host's network")
    .passThroughOptions()
    .action((image, command, flags) => run((context) => runCommandOf(context, image, command, flags)));
  program
    .command('ps')
    .description('list running containers')
    .option('-a, --all', 'also those that do not run')
    .option('-q, --quiet', 'only IDs')
    .option('--json', 'as JSON')
    .action((flags) => run((context) => psCommand(context, flags)));
  program
    .command('pods')
    .description('list pods')
    .option('-q, --quiet', 'only IDs')
    .option('--json', 'as JSON')
    .action((flags) => run((context) => podsCommand(context, flags)));
  program
    .command('logs')
    .description("print a container's output")
    .argument('<container>', 'ID, its beginning, or name')
    .option('-f, --follow', 'go on until the container ends')
    .option('-n, --tail <lines>', 'only the last lines', wholeNumber)
    .option('-t, --timestamps', 'with the time of each line')
    .action((container, flags) => run((context) => logsCommand(context, container, flags)));
  program
    .command('stop')
    .description('stop containers: their stop signal, then SIGKILL')
    .argument('<container...>', 'ID, its beginning, or name')
    .option('-t, --time <seconds>', 'how long to wait before SIGKILL', wholeNumber, STOP_SECONDS)
    .action((containers, flags) => run((context) => stopCommand(context, containers, flags.time)));
  program
    .command('rm')
    .description('remove containers, and the pod of one that `cairn run` made')
    .argument('<container...>', 'ID, its beginning, or name')
    .option('-f, --force', 'also when it is running')
    .option('--pod', 'the arguments are pods: stop and remove them')
    .action((containers, flags) => run((context) => rmCommand(context, containers, flags)));
}

function collect(value: string, previous: readonly string[]): string[] {
  return [...previous, value];
}

function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('a whole number is wanted.');
  return Number(text);
}

/** Runs the program; never throws. Exit code 2 for wrong usage. */
export async function main(version: string, argv: readonly string[]): Promise<void> {
  // A reader that leaves (`cairn logs | head`) is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));
  const program = createProgram(version);
  for (const command of [program, ...program.commands]) command.exitOverride();
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    if (!(error instanceof CommanderError)) process.exitCode = fail(error);
    else process.exitCode = error.exitCode === 0 ? 0 : USAGE_EXIT;
  }
}
