/** Tasks of this daemon: which there are, who is watched, one operation on a task at a time. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CairnError, messageOf, throwIfAborted } from '../base/errors.ts';
import { failpoint } from '../base/failpoint.ts';
import { KeyedMutex } from '../base/locks.ts';
import type { Logger } from '../base/log.ts';
import { stage } from '../base/stages.ts';
import { becomeSubreaper, processStartTime, signalProcess, watchProcess } from '../linux/index.ts';
import { attachTo } from './attach.ts';
import { containerCgroup, endStaleExecs, killCgroup, placeMonitor } from './cgroups.ts';
import { startConmon } from './conmon.ts';
import { type ExecOptions, Execs } from './execs.ts';
import { readExit, writeLostExit } from './exits.ts';
import type {
  Attachment,
  AttachOptions,
  ExecResult,
  OpenExec,
  OpenExecOptions,
  RunningTask,
  TaskExit,
  TaskService,
  TaskSpec,
} from './index.ts';
import { reopenLog } from './log-reopen.ts';
import { checkTaskId, type TaskPaths, taskPaths } from './paths.ts';
import { isMonitorRunning, readRecord, type TaskRecord, writeRecord } from './record.ts';
import { callRuntime, runtimeStatus } from './runtime.ts';
import { describeProcesses } from './stuck.ts';
import { undoTask, wasEverMade } from './undo.ts';
import { updateTask } from './update.ts';

export interface TaskServiceOptions {
  /** `tasks/` and `exits/` are made in it. */
  readonly stateDirectory: string;
  /** Absolute path of conmon. */
  readonly conmonPath: string;
  readonly log: Logger;
  /** How long the runtime may take for one step. Default: 2 minutes. */
  readonly runtimeTimeoutMs?: number;
}

const RUNTIME_TIMEOUT_MS = 120_000;
const SIGKILL = 9;

interface Task {
  readonly spec: TaskSpec;
  readonly paths: TaskPaths;
  readonly record: TaskRecord;
  readonly ended: PromiseWithResolvers<TaskExit>;
  exit: TaskExit | undefined;
  /** Ends the watch; the monitor lives on. */
  unwatch: () => void;
}

export async function createTaskService(options: TaskServiceOptions): Promise<TaskService> {
  await mkdir(join(options.stateDirectory, 'tasks'), { recursive: true, mode: 0o700 });
  await mkdir(join(options.stateDirectory, 'exits'), { recursive: true, mode: 0o700 });
  return new ConmonTaskService(options);
}

class ConmonTaskService implements TaskService {
  readonly #options: TaskServiceOptions;
  readonly #log: Logger;
  readonly #timeoutMs: number;
  readonly #tasks = new Map<string, Task>();
  readonly #mutex = new KeyedMutex('task.lock');
  readonly #subreaper = becomeSubreaper();
  readonly #execs = new Execs();

  constructor(options: TaskServiceOptions) {
    this.#options = options;
    this.#log = options.log.child({ module: 'task' });
    this.#timeoutMs = options.runtimeTimeoutMs ?? RUNTIME_TIMEOUT_MS;
  }

  async create(spec: TaskSpec, signal?: AbortSignal): Promise<RunningTask> {
    checkTaskId(spec.id);
    const cgroup = containerCgroup(spec.cgroupsPath);
    using _turn = await this.#mutex.lock(spec.id, signal);
    throwIfAborted(signal, 'task.create');
    const paths = this.#paths(spec.id);
    if (this.#tasks.has(spec.id) || (await wasEverMade(paths))) {
      throw new CairnError('AlreadyExists', `there is a task ${spec.id} already`, { step: 'task.create' });
    }
    try {
      await mkdir(paths.directory, { mode: 0o700 });
      await failpoint('task.create.spawn');
      const monitor = await startConmon({
        conmonPath: this.#options.conmonPath,
        spec,
        paths,
        timeoutMs: this.#timeoutMs,
        signal,
        place: (pid) => placeMonitor(cgroup, spec.id, pid),
      });
      await failpoint('task.create.record');
      const record: TaskRecord = {
        pid: monitor.pid,
        monitorPid: monitor.child.pid,
        startTime: processStartTime(monitor.pid),
        monitorStartTime: processStartTime(monitor.child.pid),
        started: false,
      };
      await writeRecord(paths.record, record);
      throwIfAborted(signal, 'task.create');
      this.#watch(this.#add(spec, paths, record));
      return runningTask(spec.id, record);
    } catch (error) {
      await this.#undo(spec, paths, error);
      throw error;
    }
  }

  async start(spec: TaskSpec): Promise<void> {
    using _turn = await this.#mutex.lock(spec.id);
    const task = this.#get(spec.id, 'task.start');
    try {
      await failpoint('task.start');
      await callRuntime(spec.runtime, {
        verb: 'start',
        args: [spec.id],
        logPath: task.paths.runtimeLog,
        timeoutMs: this.#timeoutMs,
      });
      await failpoint('task.start.record');
      await writeRecord(task.paths.record, { ...task.record, started: true });
    } catch (error) {
      task.unwatch();
      await this.#undo(spec, task.paths, error);
      this.#forget(task, { exitCode: 128, reason: messageOf(error) });
      throw error;
    }
  }

  async recover(spec: TaskSpec): Promise<{ running?: RunningTask; exit?: TaskExit } | undefined> {
    checkTaskId(spec.id);
    using _turn = await this.#mutex.lock(spec.id);
    const known = this.#tasks.get(spec.id);
    if (known) return known.exit ? { exit: known.exit } : { running: runningTask(spec.id, known.record) };
    const paths = this.#paths(spec.id);
    if (!(await wasEverMade(paths))) return undefined;
    const record = await readRecord(paths.record);
    const started = record !== undefined && (record.started || (await this.#hasStarted(spec, paths)));
    if (record === undefined || !started) {
      // The daemon died before the command ran: for the caller it never was.
      await undoTask(spec, paths, this.#timeoutMs);
      return undefined;
    }
    const task = this.#add(spec, paths, record);
    if (await isMonitorRunning(record)) {
      this.#watch(task);
      await endStaleExecs(containerCgroup(spec.cgroupsPath));
    } else {
      await this.#settle(task);
    }
    return task.exit ? { exit: task.exit } : { running: runningTask(spec.id, record) };
  }

  /** The daemon died while or before it started the command: only the runtime knows. */
  async #hasStarted(spec: TaskSpec, paths: TaskPaths): Promise<boolean> {
    const logPath = `${paths.runtimeLog}.state`;
    const status = await runtimeStatus(spec.runtime, spec.id, { logPath, timeoutMs: this.#timeoutMs });
    if (status === 'running') return true;
    // Stopped: it ran if conmon has written an exit code; an init that was killed before the start leaves one as well.
    return status === 'stopped' && (await readExit(paths, containerCgroup(spec.cgroupsPath))) !== undefined;
  }

  async wait(id: string): Promise<TaskExit> {
    return this.#get(id, 'task.wait').ended.promise;
  }

  async kill(id: string, signal: number, options: { all?: boolean } = {}): Promise<void> {
    const task = this.#tasks.get(id);
    if (!task) return;
    // Also after the end of init: without a PID namespace of its own the others live on.
    if (options.all === true) await killCgroup(containerCgroup(task.spec.cgroupsPath), signal);
    else if (!task.exit) signalProcess(task.record.pid, signal, identity(task.record.startTime));
  }

  async describeProcesses(id: string): Promise<string> {
    const task = this.#tasks.get(id);
    if (!task) return '';
    return await describeProcesses(containerCgroup(task.spec.cgroupsPath), task.exit ? 0 : task.record.pid);
  }

  async exec(id: string, process: object, options: ExecOptions): Promise<ExecResult> {
    return await stage('task.exec', () => this.#execs.run(this.#running(id, 'task.exec'), process, options));
  }

  async openExec(id: string, process: object, options: OpenExecOptions): Promise<OpenExec> {
    return await this.#execs.open(this.#running(id, 'task.exec'), process, options);
  }

  attach(id: string, options: AttachOptions): Attachment {
    return attachTo(this.#running(id, 'task.attach').spec.bundle, options);
  }

  async reopenLog(id: string): Promise<void> {
    using _turn = await this.#mutex.lock(id);
    const { spec, record } = this.#running(id, 'task.reopenLog');
    const { bundle, logPath } = spec;
    if (logPath === undefined) return;
    await stage('task.reopen-log', () => reopenLog({ bundle, logPath, monitorPid: record.monitorPid }));
  }

  async update(id: string, resources: object): Promise<void> {
    using _turn = await this.#mutex.lock(id);
    const { spec, paths } = this.#running(id, 'task.update');
    await updateTask({ id, runtime: spec.runtime, paths, resources, timeoutMs: this.#timeoutMs });
  }

  async delete(spec: TaskSpec): Promise<void> {
    checkTaskId(spec.id);
    using _turn = await this.#mutex.lock(spec.id);
    const task = this.#tasks.get(spec.id);
    task?.unwatch();
    await undoTask(spec, this.#paths(spec.id), this.#timeoutMs);
    if (task) this.#forget(task, { exitCode: 128 + SIGKILL, reason: 'the task was deleted while it ran' });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#execs[Symbol.asyncDispose]();
    for (const task of this.#tasks.values()) {
      task.unwatch();
      if (!task.exit) task.ended.reject(new CairnError('Cancelled', 'the daemon stops', { step: 'task.wait' }));
    }
    this.#tasks.clear();
    this.#subreaper[Symbol.dispose]();
  }

  #paths(id: string): TaskPaths {
    return taskPaths(this.#options.stateDirectory, id);
  }

  #get(id: string, step: string): Task {
    const task = this.#tasks.get(id);
    if (!task) throw new CairnError('NotFound', `there is no task ${id}`, { step });
    return task;
  }

  #running(id: string, step: string): Task {
    const task = this.#get(id, step);
    if (task.exit) throw new CairnError('FailedPrecondition', `container ${id} is not running`, { step });
    return task;
  }

  #add(spec: TaskSpec, paths: TaskPaths, record: TaskRecord): Task {
    const ended = Promise.withResolvers<TaskExit>();
    // Whether anybody waits is the callers' affair.
    ended.promise.catch(() => undefined);
    const task: Task = { spec, paths, record, ended, exit: undefined, unwatch: () => undefined };
    this.#tasks.set(spec.id, task);
    return task;
  }

  #watch(task: Task): void {
    const { monitorPid, monitorStartTime } = task.record;
    const watched = watchProcess(monitorPid, identity(monitorStartTime));
    task.unwatch = () => watched[Symbol.dispose]();
    watched.exited
      .then(() => this.#settle(task))
      .catch((error: unknown) => {
        this.#log.error({ container: task.spec.id, err: error }, 'cannot tell how the container ended');
        task.ended.reject(error);
      });
  }

  /** The monitor has ended: takes its word for the end of the container, or ends the container itself. */
  async #settle(task: Task): Promise<void> {
    const { spec, paths, record } = task;
    const cgroup = containerCgroup(spec.cgroupsPath);
    let exit = await readExit(paths, cgroup);
    if (!exit) {
      const reason = `the container's monitor (conmon, process ${record.monitorPid}) was lost; the container was killed`;
      this.#log.warn({ container: spec.id, monitorPid: record.monitorPid }, reason);
      signalProcess(record.pid, SIGKILL, identity(record.startTime));
      await killCgroup(cgroup, SIGKILL);
      await writeLostExit(paths, reason);
      exit = await readExit(paths, cgroup);
    }
    if (!exit || this.#tasks.get(spec.id) !== task) return;
    task.exit = exit;
    task.ended.resolve(exit);
  }

  /** Undoes after a failure; that it can't is said in the log, the caller gets the first error. */
  async #undo(spec: TaskSpec, paths: TaskPaths, cause: unknown): Promise<void> {
    try {
      await undoTask(spec, paths, this.#timeoutMs);
    } catch (error) {
      this.#log.error(
        { container: spec.id, err: error, cause: messageOf(cause) },
        'cannot undo a failed start: delete it',
      );
    }
  }

  #forget(task: Task, exit: { exitCode: number; reason: string }): void {
    this.#tasks.delete(task.spec.id);
    const finishedAtNs = BigInt(Date.now()) * 1_000_000n;
    task.ended.resolve(task.exit ?? { ...exit, finishedAtNs, oomKilled: false });
  }
}

function runningTask(id: string, record: TaskRecord): RunningTask {
  return { id, pid: record.pid, monitorPid: record.monitorPid };
}

/** A process that had no start time when it was asked had ended: 0 is nobody's. */
function identity(startTime: bigint | undefined): { startTime: bigint } {
  return { startTime: startTime ?? 0n };
}
