/**
 * A task: the processes of one container, watched by conmon and made by an OCI runtime (runc).
 *
 * The bundle directory (`config.json`, and the root filesystem mounted where the spec says) is the caller's. conmon
 * holds the log, the attach socket and the exit file, and outlives the daemon; so a task is found again after a restart
 * (`recover`), running or ended, with its true exit code.
 */
import type { Writable } from 'node:stream';

export interface RuntimeHandler {
  /** `runc`; the key of `[runtimes.NAME]`. */
  readonly name: string;
  readonly path: string;
  readonly rootDirectory: string;
}

export interface TaskSpec {
  /** Container ID; also the runtime's ID. */
  readonly id: string;
  readonly runtime: RuntimeHandler;
  readonly bundle: string;
  /** CRI log file, or undefined to throw output away. */
  readonly logPath: string | undefined;
  readonly logSizeBytesMax: number | undefined;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly terminal: boolean;
  /** The container's cgroup (`linux.cgroupsPath` of the spec); conmon's leaf is made beside it. */
  readonly cgroupsPath: string;
}

export interface TaskExit {
  /** 0-255; 128+signal for a signal; 255 when the monitor was lost. */
  readonly exitCode: number;
  readonly finishedAtNs: bigint;
  readonly oomKilled: boolean;
  /** Set when the code is not the process's own: why (the monitor was lost, the start failed). */
  readonly reason?: string;
}

export interface RunningTask {
  readonly id: string;
  /** The container's init process, as the host sees it. */
  readonly pid: number;
  readonly monitorPid: number;
}

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** Output beyond the limit was dropped. */
  readonly truncated: boolean;
}

export interface TerminalSize {
  readonly rows: number;
  readonly columns: number;
}

/** The streams of a process, open until they are disposed. */
export interface OpenStreams extends AsyncDisposable {
  /** Ends the process's input when it ends; a terminal gets a ^D instead. */
  readonly stdin: Writable | undefined;
  /** At the reader's pace (exec), or bounded (attach). */
  readonly stdout: AsyncIterable<Buffer> | undefined;
  readonly stderr: AsyncIterable<Buffer> | undefined;
  /** Without a terminal it does nothing. */
  resize(size: TerminalSize): Promise<void>;
}

/** Who may reopen the pipes of a command: in a user namespace the runtime can't see to that itself. The host's IDs. */
export interface StdioOwner {
  readonly uid: number;
  readonly gid: number;
}

export interface OpenExecOptions {
  /** `process.terminal` as well. There is no stderr then. */
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly signal?: AbortSignal;
  readonly stdioOwner?: StdioOwner | undefined;
}

/** Disposing kills the command with all its descendants if it still runs; after its end they stay. */
export interface OpenExec extends OpenStreams {
  /** The command's own exit code, 128+signal for a signal. What it wrote before may still be unread. */
  readonly exitCode: Promise<number>;
}

export interface AttachOptions {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
}

/**
 * Ending `stdin` ends that of the container when it was created with `stdinOnce`, and so does disposing. A reader that
 * is too far behind gets ResourceExhausted: it can't be waited for.
 */
export interface Attachment extends OpenStreams {
  /** The container's process has ended, or this was disposed. */
  readonly ended: Promise<void>;
}

export interface TaskService extends AsyncDisposable {
  /** conmon and `runc create`. On failure (message: the runtime's own words) nothing is left behind. */
  create(spec: TaskSpec, signal?: AbortSignal): Promise<RunningTask>;
  /** `runc start`: the container's command runs when it returns. On failure the task is undone, as by `delete`. */
  start(spec: TaskSpec): Promise<void>;
  /**
   * Takes up a task again after a restart: running, ended (exit file), or undefined when nothing was ever made. One whose
   * command never ran, because the daemon died before, is undone and is undefined too. A command of an exec is killed.
   */
  recover(spec: TaskSpec): Promise<{ readonly running?: RunningTask; readonly exit?: TaskExit } | undefined>;
  /** Resolves at the task's end; at once when it has ended. Rejects with Cancelled when the service is disposed first. */
  wait(id: string): Promise<TaskExit>;
  /**
   * Sends a signal to the init process, or with `all` to every process of its cgroup (also after the end of init; SIGKILL
   * then returns when none is left). No error when the task has ended or is unknown.
   */
  kill(id: string, signal: number, options?: { all?: boolean }): Promise<void>;
  /** What the processes that are left of the task wait for, in words; empty when there is none. */
  describeProcesses(id: string): Promise<string>;
  /**
   * Runs a command to its end; what it leaves in the background lives on in the container. `timeoutMs` 0: no limit;
   * beyond it the command and all its descendants are killed and the call throws DeadlineExceeded. Output is bounded by
   * `outputBytesMax` in each stream, then truncated.
   */
  exec(
    id: string,
    process: object,
    options: {
      timeoutMs: number;
      outputBytesMax: number;
      signal?: AbortSignal;
      stdioOwner?: StdioOwner | undefined;
    },
  ): Promise<ExecResult>;
  /** Starts a command and leaves its streams open. The words of the runtime are thrown when it can't be started. */
  openExec(id: string, process: object, options: OpenExecOptions): Promise<OpenExec>;
  /** The streams of the container's own process, from now on. FailedPrecondition when it does not run. */
  attach(id: string, options: AttachOptions): Attachment;
  /**
   * Sets limits (`linux.resources` of the runtime spec; what it does not name stays). On failure, in the runtime's own
   * words, some of them may be set. FailedPrecondition when it does not run.
   */
  update(id: string, resources: object): Promise<void>;
  /** The log was renamed: conmon opens the path anew. Without a rename nothing happens. */
  reopenLog(id: string): Promise<void>;
  /** Removes what the runtime, conmon and the cgroups still hold. Kills if it still runs. Safe to repeat. */
  delete(spec: TaskSpec): Promise<void>;
}

export { containerCgroup } from './cgroups.ts';
export { createTaskService, type TaskServiceOptions } from './service.ts';
