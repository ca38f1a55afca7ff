/** The worker thread's program for work on whole trees. */
import { serveJobs } from '../base/worker-pool.ts';
import { explainDiskError } from './disk-error.ts';
import type { Usage } from './index.ts';
import { runTreeJob, type TreeJob } from './tree-job.ts';

serveJobs<TreeJob, Usage>(async (job) => {
  try {
    return runTreeJob(job);
  } catch (error) {
    throw explainDiskError(error);
  }
});
