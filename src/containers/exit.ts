/** What a container's end means: its reason in Kubernetes' words. */
import type { TaskExit } from '../task/index.ts';
import type { ContainerRecord } from './records.ts';

/** The exit code of a container whose end nobody saw. */
const UNKNOWN_EXIT_CODE = 255;
/** The exit code of a container whose command could not be started. */
const START_ERROR_EXIT_CODE = 128;

export function exitedRecord(record: ContainerRecord, exit: TaskExit): ContainerRecord {
  const reason = exit.oomKilled ? 'OOMKilled' : exit.exitCode === 0 ? 'Completed' : 'Error';
  // The start is noted when the runtime has returned from it; a short life is over by then.
  let { finishedAtNs } = exit;
  if (finishedAtNs < record.startedAtNs) finishedAtNs = record.startedAtNs;
  return {
    ...record,
    state: 'exited',
    exitCode: exit.exitCode,
    finishedAtNs,
    reason,
    message: exit.reason ?? '',
    pid: undefined,
  };
}

export function startErrorRecord(record: ContainerRecord, message: string): ContainerRecord {
  return {
    ...record,
    state: 'exited',
    exitCode: START_ERROR_EXIT_CODE,
    finishedAtNs: nowNs(),
    reason: 'StartError',
    message,
    pid: undefined,
  };
}

export function unknownExitRecord(record: ContainerRecord, message: string): ContainerRecord {
  return {
    ...record,
    state: 'exited',
    exitCode: UNKNOWN_EXIT_CODE,
    finishedAtNs: nowNs(),
    reason: 'ContainerStatusUnknown',
    message,
    pid: undefined,
  };
}

export function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
