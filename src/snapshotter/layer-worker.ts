/** The worker thread's program for unpacking. Here everything may wait for the disk. */
import { serveJobs } from '../base/worker-pool.ts';
import { explainDiskError } from './disk-error.ts';
import type { StageJob, StageResult } from './stage-layer.ts';
import { stageLayer } from './stage-layer.ts';

serveJobs<StageJob, StageResult>(async (job, signal) => {
  try {
    return await stageLayer(job, signal);
  } catch (error) {
    throw explainDiskError(error);
  }
});
