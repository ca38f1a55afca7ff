/** Logs. */
import Long from 'long';
import { CairnError, isCairnError } from '../base/errors.ts';
import type { ContainerService } from '../containers/index.ts';
import { type Cairn, type ILogLine, LogStream } from '../generated/cairn.js';
import type { Handlers } from '../rpc/index.ts';
import type { CairnOptions } from './index.ts';
import { readLines } from './log-file.ts';
import { type LogLine, parseLogLine } from './log-line.ts';

export function logHandlers({ containers }: CairnOptions): Handlers<typeof Cairn> {
  return {
    async *logs({ containerId, follow, tailLines, since }, { signal }) {
      const { id, logPath } = containers.get(containerId);
      if (logPath === '') {
        throw new CairnError('FailedPrecondition', `container ${id} has no log`, { step: 'api.logs' });
      }
      const sinceNs = since.toBigInt();
      const more = () => follow && mayWrite(containers, id);
      for await (const batch of readLines(logPath, { tailLines: tailLines ?? undefined, more, signal })) {
        const lines = batch.map(parseLogLine).filter(({ timeNs }) => timeNs >= sinceNs);
        if (lines.length > 0) yield { lines: lines.map(renderLine) };
      }
    },
  };
}

/** The monitor writes the exit file after the last line, so an exited container's log is complete. */
function mayWrite(containers: ContainerService, id: string): boolean {
  try {
    return containers.get(id).state !== 'exited';
  } catch (error) {
    if (isCairnError(error, 'NotFound')) return false;
    throw error;
  }
}

function renderLine({ stream, timeNs, text, partial }: LogLine): ILogLine {
  return {
    stream: stream === 'stderr' ? LogStream.LOG_STREAM_STDERR : LogStream.LOG_STREAM_STDOUT,
    time: Long.fromBigInt(timeNs),
    text,
    partial,
  };
}
