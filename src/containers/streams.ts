/** Streams into a running container: commands (exec) and its own process (attach). */
import { CairnError } from '../base/errors.ts';
import type { Attachment, AttachOptions, OpenExec, OpenExecOptions, TaskService } from '../task/index.ts';
import { readSpec } from './bundle.ts';
import type { ContainerRecord, ContainerRecords } from './records.ts';
import { stdioOwner } from './stdio-owner.ts';

export interface ContainerStreams {
  /** Starts a command with open streams, in the environment and with the rights of the container's own process. */
  openExec(id: string, command: readonly string[], options: OpenExecOptions): Promise<OpenExec>;
  /** The streams of the container's own process from now on; no stdin when it was created without. */
  attach(id: string, options: AttachOptions): Promise<Attachment>;
}

/** Every terminal that Kubernetes' clients run in understands it. */
const TERMINAL_TYPE = 'TERM=xterm';

export function containerStreams({
  records,
  task,
}: {
  records: ContainerRecords;
  task: TaskService;
}): ContainerStreams {
  return {
    async openExec(id, command, options) {
      const record = running(records.get(id));
      const spec = await readSpec(record);
      const { process } = spec;
      const needsType = options.terminal && !process.env.some((entry) => entry.startsWith('TERM='));
      const env = needsType ? [...process.env, TERMINAL_TYPE] : process.env;
      const asked = { ...process, args: command, env, terminal: options.terminal };
      return await task.openExec(record.id, asked, { ...options, stdioOwner: stdioOwner(spec) });
    },
    async attach(id, options) {
      const { id: fullId, config } = running(records.get(id));
      return task.attach(fullId, { ...options, stdin: options.stdin && config.stdin });
    },
  };
}

function running(record: ContainerRecord): ContainerRecord {
  if (record.state === 'running') return record;
  const why = record.reason === '' ? record.state : `${record.state} (${record.reason})`;
  throw new CairnError('FailedPrecondition', `container ${record.id} is ${why}, not running`, {
    step: 'container.state',
  });
}
