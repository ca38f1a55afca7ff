/** One checkpoint (see checkpoint.ts), then this thread ends. */
import { DatabaseSync } from 'node:sqlite';
import { parentPort, workerData } from 'node:worker_threads';
import { failpoint } from '../base/failpoint.ts';

/** `copied`: the first part is done, hold commits back now and answer `restart`. */
export type CheckpointMessage = 'copied';

/** For how long a reader outside of this process may hold up the restart, and with it our commits. */
const BUSY_TIMEOUT_MS = 50;

const database = new DatabaseSync(String(workerData), { timeout: BUSY_TIMEOUT_MS });
// FULL: a checkpoint syncs the log before it copies, and the database before the log may be restarted.
database.exec('PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA wal_checkpoint(PASSIVE)');

parentPort?.once('message', async () => {
  try {
    const outcome = database.prepare('PRAGMA wal_checkpoint(RESTART)').get();
    // Busy: somebody outside reads an old state. The log goes on growing and the next checkpoint tries again.
    if (outcome?.['busy'] === 0) {
      await failpoint('store.checkpoint.restart');
      database.exec(
        "INSERT INTO meta VALUES ('checkpoint_at', datetime()) ON CONFLICT DO UPDATE SET value = excluded.value",
      );
    }
  } finally {
    database.close();
  }
});
parentPort?.postMessage('copied' satisfies CheckpointMessage);
