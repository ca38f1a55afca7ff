/** requests: what the daemon is at work on, and where that is. */
import { type Context, QUICK_MS } from './context.ts';
import { type Column, renderTable, shortId, toJson } from './format.ts';
import { CairnV1 } from './wire.ts';

/** IDs in a subject are shortened as in every table. */
const LONG_ID = /^[0-9a-f]{64}$/;

export async function requestsCommand(context: Context, flags: { json?: boolean }): Promise<undefined> {
  const { getRequests } = CairnV1.Cairn.methods;
  const { requests } = await context.rpc.call(getRequests, {}, { signal: context.signal, timeoutMs: QUICK_MS });
  if (flags.json) {
    const rows = requests.map(({ id, method, subject, durationMs, stages }) => ({
      ...{ id, method, subject },
      durationMs: durationMs.toNumber(),
      stages: stages.map(({ name, detail, durationMs: ms }) => ({ name, detail, durationMs: ms.toNumber() })),
    }));
    context.print(toJson(rows));
    return;
  }
  const columns: Column<CairnV1.LiveRequest>[] = [
    { title: 'REQUEST', value: ({ id }) => id },
    { title: 'METHOD', value: ({ method }) => method },
    { title: 'TIME', value: ({ durationMs }) => seconds(durationMs.toNumber()) },
    {
      title: 'IN STAGE',
      value: ({ stages, durationMs }) => seconds((stages.at(-1)?.durationMs ?? durationMs).toNumber()),
    },
    { title: 'STAGE', value: ({ stages }) => stages.map(stageName).join(' > ') || '-' },
    { title: 'SUBJECT', value: ({ subject }) => Object.entries(subject).map(subjectText).join(' ') },
  ];
  context.print(renderTable(columns, requests));
}

function stageName({ name, detail }: CairnV1.Stage): string {
  return detail === '' ? name : `${name} (${detail})`;
}

function subjectText([key, value]: [string, string]): string {
  return `${key}=${LONG_ID.test(value) ? shortId(value) : value}`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)}s`;
}
