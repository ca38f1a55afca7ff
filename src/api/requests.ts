/** GetRequests. */
import { type Activity, liveRequests, stagePath } from '../base/stages.ts';
import type { Cairn, ILiveRequest } from '../generated/cairn.js';
import type { Handlers } from '../rpc/index.ts';

export function requestHandlers(): Handlers<typeof Cairn> {
  return {
    getRequests: (_request, { requestId }) => ({
      requests: liveRequests()
        .filter(({ id }) => id !== requestId)
        .map(renderRequest),
    }),
  };
}

function renderRequest(request: Activity): ILiveRequest {
  const { id, method, subject, durationMs } = request;
  return {
    ...{ id, method, durationMs: Math.round(durationMs) },
    subject: Object.fromEntries(Object.entries(subject).map(([key, value]) => [key, String(value)])),
    stages: stagePath(request.current()).map(({ stage: name, detail, inStageMs }) => {
      return { name, detail, durationMs: Math.round(inStageMs) };
    }),
  };
}
