/**
 * Starting conmon, the monitor of one container.
 *
 * conmon waits for a byte on its start pipe, runs `RUNTIME create`, and says on its sync pipe in one JSON line how that
 * went. Its standard error goes to the same pipe until it has found its feet: what it says of itself before (an option it
 * does not know, a log it can't open) is then in the error.
 * With `--sync` conmon is our own child for as long as we live; it leads its own session and survives us.
 */
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { abortError, CairnError, errnoOf, messageOf } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { stage } from '../base/stages.ts';
import { type ChildProcess, closeDescriptor, makePipe, parseScopePath, spawnProcess } from '../linux/index.ts';
import { monitorName } from './cgroups.ts';
import type { TaskSpec } from './index.ts';
import type { TaskPaths } from './paths.ts';
import { plainWords, RUNTIME_ENVIRONMENT } from './runtime.ts';

const SYNC_FD = 3;
const START_FD = 4;
const SYSTEMD_RUN = '/usr/bin/systemd-run';
const ANSWER_BYTES_MAX = 64 * 1024;

export interface ConmonOptions {
  readonly conmonPath: string;
  readonly spec: TaskSpec;
  readonly paths: TaskPaths;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  /** Moves conmon to its cgroup, where systemd does not. */
  readonly place: (pid: number) => Promise<void>;
}

export interface Monitor {
  readonly child: ChildProcess;
  /** The container's init process. */
  readonly pid: number;
}

/** Throws the runtime's or conmon's own words; whatever was made by then is the caller's to undo. */
export function startConmon(options: ConmonOptions): Promise<Monitor> {
  return stage('task.create', () => launch(options));
}

async function launch(options: ConmonOptions): Promise<Monitor> {
  const sync = makePipe();
  const start = makePipe();
  let child: ChildProcess;
  try {
    child = spawnProcess({
      ...monitorCommand(options),
      // It leaves a second `oom` file in its working directory, and holds that directory for its life.
      cwd: options.paths.directory,
      env: { ...RUNTIME_ENVIRONMENT, _OCI_SYNCPIPE: String(SYNC_FD), _OCI_STARTPIPE: String(START_FD) },
      stderr: sync.writeEnd,
      extraFds: { [SYNC_FD]: sync.writeEnd, [START_FD]: start.readEnd },
    });
  } catch (error) {
    closeDescriptor(sync.readEnd);
    closeDescriptor(start.writeEnd);
    const message = `cannot start conmon at ${options.conmonPath}: ${messageOf(error)}`;
    throw new CairnError(errnoOf(error) === 'ENOENT' ? 'FailedPrecondition' : 'Unknown', message, {
      step: 'task.create',
      cause: error,
    });
  } finally {
    closeDescriptor(sync.writeEnd);
    closeDescriptor(start.readEnd);
  }
  const answer = new Socket({ fd: sync.readEnd, readable: true, writable: false });
  let placed: Promise<void> | undefined;
  try {
    try {
      await failpoint('task.create.place');
      // The move waits for a grace period of the kernel (8 ms); meanwhile conmon loads and the runtime begins. What
      // conmon has forked by then stays with the daemon, so a pod's memory limit need not hold the runtime.
      if (parseScopePath(options.spec.cgroupsPath) === undefined) placed = options.place(child.pid);
      await failpoint('task.create.conmon');
      letGo(start.writeEnd);
    } finally {
      closeDescriptor(start.writeEnd);
    }
    const [pid] = await Promise.all([readAnswer(answer, child, options), placed]);
    return { child, pid };
  } catch (error) {
    child.kill(SIGKILL);
    // Else its cgroup could be made after it was removed.
    await placed?.catch(() => undefined);
    throw error;
  } finally {
    answer.destroy();
  }
}

/** conmon may have given up already (EPIPE): it will have said why. */
function letGo(startPipe: number): void {
  try {
    writeSync(startPipe, '\n');
  } catch (error) {
    if (errnoOf(error) !== 'EPIPE') throw error;
  }
}

const SIGKILL = 9;

/** Under systemd conmon is born in a scope of its own: systemd-run makes that of itself, and becomes conmon. */
function monitorCommand({ conmonPath, spec, paths }: ConmonOptions): { file: string; args: string[] } {
  const args = conmonArguments(spec, paths);
  const unit = parseScopePath(spec.cgroupsPath);
  if (unit === undefined) return { file: conmonPath, args };
  const scope = ['--scope', '--quiet', '--collect', `--slice=${unit.slice}`, `--unit=${monitorName(spec.id, true)}`];
  return { file: SYSTEMD_RUN, args: [...scope, '--', conmonPath, ...args] };
}

export function conmonArguments(spec: TaskSpec, paths: TaskPaths): string[] {
  const { runtime } = spec;
  return [
    ...['--sync', '--no-sync-log', '--full-attach'],
    ...['--cid', spec.id, '--cuuid', spec.id, '--name', spec.id],
    ...['--runtime', runtime.path, '--bundle', spec.bundle],
    ...['--container-pidfile', paths.pidFile, '--exit-dir', paths.exitDirectory, '--persist-dir', paths.directory],
    ...['--log-path', spec.logPath === undefined ? 'none:' : `k8s-file:${spec.logPath}`],
    ...(spec.logSizeBytesMax === undefined ? [] : ['--log-size-max', String(spec.logSizeBytesMax)]),
    ...(spec.stdin ? ['--stdin'] : []),
    ...(spec.stdin && !spec.stdinOnce ? ['--leave-stdin-open'] : []),
    ...(spec.terminal ? ['--terminal'] : []),
    ...(parseScopePath(spec.cgroupsPath) === undefined ? [] : ['--systemd-cgroup']),
    ...[`--root=${runtime.rootDirectory}`, `--log=${paths.runtimeLog}`, '--log-format=json'].map(
      (argument) => `--runtime-arg=${argument}`,
    ),
  ];
}

async function readAnswer(answer: Socket, child: ChildProcess, options: ConmonOptions): Promise<number> {
  const { promise: stopped, reject: stop } = Promise.withResolvers<never>();
  const onAbort = () => {
    if (options.signal) stop(abortError(options.signal, 'task.create'));
  };
  const timer = setTimeout(() => {
    const message = `${options.spec.runtime.path} create did not end within ${options.timeoutMs} ms`;
    stop(new CairnError('DeadlineExceeded', message, { step: 'task.create' }));
  }, options.timeoutMs);
  options.signal?.addEventListener('abort', onAbort, { once: true });
  if (options.signal?.aborted) onAbort();
  try {
    const text = await Promise.race([firstAnswer(answer), stopped]);
    const said = parseAnswer(text);
    if (said.pid !== undefined && said.pid > 0) return said.pid;
    const { code } = await Promise.race([child.exited, stopped]);
    throw new CairnError('Unknown', await explain(options, said, code), { step: 'task.create' });
  } finally {
    clearTimeout(timer);
    options.signal?.removeEventListener('abort', onAbort);
  }
}

/** Everything up to and with the JSON line, or up to the end. */
function firstAnswer(answer: Socket): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  let text = '';
  answer.setEncoding('utf8');
  answer.on('data', (chunk: string) => {
    text += chunk;
    if (/^\{.*\}\n/m.test(text) || text.length > ANSWER_BYTES_MAX) resolve(text);
  });
  answer.on('end', () => resolve(text));
  answer.on('error', reject);
  return promise;
}

export interface ConmonAnswer {
  /** Of the container's init; -1 after a failure; undefined when conmon ended without an answer. */
  readonly pid: number | undefined;
  /** What the runtime wrote to its standard error. */
  readonly runtimeWords: string;
  /** What conmon said of itself before. */
  readonly ownWords: string;
}

/** The door for what conmon says. */
export function parseAnswer(text: string): ConmonAnswer {
  const own: string[] = [];
  const answer = (pid: number | undefined, runtimeWords: string) => ({
    ...{ pid, runtimeWords },
    ownWords: own.join('\n').trim(),
  });
  for (const line of text.split('\n')) {
    const value = line.startsWith('{') ? tryJson(line) : undefined;
    if (typeof value === 'object' && value !== null && 'pid' in value && typeof value.pid === 'number') {
      return answer(value.pid, 'message' in value && typeof value.message === 'string' ? value.message : '');
    }
    own.push(line.replace(/^\[conmon:[a-z]+\]:? */, ''));
  }
  return answer(undefined, '');
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function explain(options: ConmonOptions, answer: ConmonAnswer, code: number | null): Promise<string> {
  const { runtime } = options.spec;
  const runtimeWords = await plainWords(options.paths.runtimeLog, answer.runtimeWords);
  if (runtimeWords !== '') return `${runtime.name} create: ${runtimeWords}`;
  if (answer.ownWords !== '') return `conmon: ${answer.ownWords}`;
  const ended = code === null ? 'by a signal' : `with code ${code}`;
  return `conmon ended ${ended} and said nothing; can ${runtime.path} be executed?`;
}
