/**
 * A machine of its own for a test: another kernel (Linux 6.1 as user-mode-linux, an ordinary process) with cgroup v2 alone
 * and AppArmor in force, on this host's own files, read-only. It has one CPU, no network but its own, and nothing
 * of it is left when it is over: memory, disk and processes go with it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { accessSync, rmSync } from 'node:fs';
import { mkdir, mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EXIT_MARK, guestInit } from './guest-init.ts';

const KERNEL = '/usr/bin/linux.uml';
const KERNEL_MODULES = '/usr/lib/uml/modules';
const NEEDED = [KERNEL, KERNEL_MODULES, '/usr/sbin/modprobe', '/usr/sbin/mke2fs', '/usr/sbin/xtables-legacy-multi'];
const DISK_BYTES = 8 * 2 ** 30;
const MEMORY = '4G';
/** From the end of its command to that of the process. */
const POWER_OFF_MS_MAX = 15_000;
/** It is not worth more than what others do on this host. */
const NICE = '10';

export interface MachineRun {
  /** For /bin/sh, in `workingDirectory`. What it writes to `$MACHINE_RESULTS` is in `resultsDirectory` during `collect`. */
  readonly command: string;
  /** On the host, seen by the machine at the same place. */
  readonly workingDirectory: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly timeLimitMs: number;
  /** Each piece of the console's output. */
  readonly onOutput: (text: string) => void;
  /** Called before the machine's directory is removed. */
  readonly collect?: (resultsDirectory: string) => Promise<void>;
}

export interface MachineResult {
  /** Of the command; undefined when the machine was ended or came to its end before that. */
  readonly exitCode: number | undefined;
  readonly timedOut: boolean;
}

/** What this host lacks to run a machine. */
export function missingForMachine(): string[] {
  return NEEDED.filter((path) => {
    try {
      accessSync(path);
      return false;
    } catch {
      return true;
    }
  });
}

export async function runMachine(run: MachineRun): Promise<MachineResult> {
  const directory = await mkdtemp(join(tmpdir(), 'cairn-machine-'));
  // Also when whoever waits has had enough.
  const takeAway = () => rmSync(directory, { recursive: true, force: true });
  const leave = () => process.exit(130);
  process.once('exit', takeAway);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, leave);
  try {
    const resultsDirectory = join(directory, 'results');
    await mkdir(join(directory, 'lib'));
    await mkdir(resultsDirectory);
    await symlink(KERNEL_MODULES, join(directory, 'lib/modules'));
    const disk = join(directory, 'disk');
    await using file = await open(disk, 'w');
    await file.truncate(DISK_BYTES);
    execFileSync('/usr/sbin/mke2fs', ['-q', '-t', 'ext4', '-O', '^has_journal', '-E', 'lazy_itable_init=1', disk]);
    const init = join(directory, 'init');
    const { command, workingDirectory, environment = {} } = run;
    const script = guestInit({ machineDirectory: directory, workingDirectory, command, environment });
    await writeFile(init, script, { mode: 0o700 });
    const result = await boot({ init, disk, scratch: directory, run });
    await run.collect?.(resultsDirectory);
    return result;
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.removeListener(signal, leave);
    process.removeListener('exit', takeAway);
    await rm(directory, { recursive: true, force: true });
  }
}

interface Boot {
  readonly init: string;
  readonly disk: string;
  readonly scratch: string;
  readonly run: MachineRun;
}

async function boot({ init, disk, scratch, run }: Boot): Promise<MachineResult> {
  const kernelArguments = [
    ...['rootfstype=hostfs', 'rootflags=/', 'ro', `mem=${MEMORY}`, `ubda=${disk}`, `init=${init}`],
    // The console is our pipe, and nothing can be typed.
    ...['lsm=apparmor', 'con=null', 'con0=null,fd:1', 'con1=null', 'quiet', `uml_dir=${scratch}/`, 'umid=uml'],
  ];
  const machine = spawn('nice', ['-n', NICE, KERNEL, ...kernelArguments], {
    // A group of its own: each process of the guest is one of the host's.
    detached: true,
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { PATH: process.env['PATH'] ?? '', HOME: scratch, TMPDIR: '/dev/shm' },
  });
  const stop = () => killGroup(machine);
  process.once('exit', stop);
  let exitCode: number | undefined;
  let timedOut = false;
  let line = '';
  const timers = [
    setTimeout(() => {
      timedOut = true;
      stop();
    }, run.timeLimitMs),
  ];
  machine.stdout.setEncoding('utf8');
  machine.stdout.on('data', (text: string) => {
    run.onOutput(text);
    const lines = (line + text).split('\n');
    line = lines.pop() ?? '';
    const mark = lines.find((one) => one.startsWith(EXIT_MARK));
    if (mark === undefined) return;
    exitCode = Number(mark.slice(EXIT_MARK.length));
    timers.push(setTimeout(stop, POWER_OFF_MS_MAX));
  });
  try {
    await new Promise<void>((resolve, reject) => {
      machine.once('error', reject);
      // Not `close`: a process of the guest may hold the pipe for a moment.
      machine.once('exit', () => resolve());
    });
  } finally {
    for (const timer of timers) clearTimeout(timer);
    process.removeListener('exit', stop);
    stop();
  }
  return { exitCode, timedOut };
}

/** The machine with all its processes. */
function killGroup(machine: ChildProcess): void {
  if (machine.pid === undefined) return;
  try {
    process.kill(-machine.pid, 'SIGKILL');
  } catch {
    // None is left.
  }
}
