import { describe, expect, test } from '@jest/globals';
import { CairnError, throwIfAborted } from '../../../src/base/errors.ts';
import { JoinedWork } from '../../../src/base/joined-work.ts';

/** Work that ends when told to, and shortly after an abort. */
function heldWork() {
  const { promise, resolve } = Promise.withResolvers<string>();
  const state = { starts: 0, stopped: false };
  const work = async (signal: AbortSignal) => {
    state.starts++;
    const aborted = new Promise<void>((done) => signal.addEventListener('abort', () => setTimeout(done, 20)));
    await Promise.race([promise, aborted]);
    state.stopped = signal.aborted;
    throwIfAborted(signal, 'held');
    return await promise;
  };
  return { state, work, finish: resolve };
}

describe('joined work', () => {
  test('callers of one key share one run and its result', async () => {
    const joined = new JoinedWork<string>('test');
    const held = heldWork();
    const calls = [1, 2, 3].map(() => joined.run('a', undefined, held.work));
    held.finish('done');
    expect(await Promise.all(calls)).toEqual(['done', 'done', 'done']);
    expect(held.state.starts).toBe(1);
    expect(joined.has('a')).toBe(false);
  });

  test('a caller who cancels leaves the others alone', async () => {
    const joined = new JoinedWork<string>('test');
    const held = heldWork();
    const abort = new AbortController();
    const leaving = joined.run('a', abort.signal, held.work);
    const staying = joined.run('a', new AbortController().signal, held.work);
    abort.abort();
    await expect(leaving).rejects.toMatchObject({ kind: 'Cancelled' });
    held.finish('done');
    expect(await staying).toBe('done');
    expect(held.state.stopped).toBe(false);
  });

  test('the last one to cancel stops the work, and hears of it when it has stopped', async () => {
    const joined = new JoinedWork<string>('test');
    const held = heldWork();
    const aborts = [new AbortController(), new AbortController()];
    const calls = aborts.map(({ signal }) => joined.run('a', signal, held.work));
    const outcomes = Promise.allSettled(calls);
    aborts[0]?.abort();
    await expect(calls[0]).rejects.toMatchObject({ kind: 'Cancelled' });
    expect(held.state.stopped).toBe(false);
    aborts[1]?.abort(new CairnError('DeadlineExceeded', 'too slow'));
    await expect(calls[1]).rejects.toMatchObject({ kind: 'DeadlineExceeded', message: 'too slow' });
    expect(held.state.stopped).toBe(true);
    await outcomes;
  });

  test('whoever comes while cancelled work stops starts anew', async () => {
    const joined = new JoinedWork<string>('test');
    const held = heldWork();
    const abort = new AbortController();
    const first = joined.run('a', abort.signal, held.work);
    await Promise.resolve();
    abort.abort();
    const second = joined.run('a', undefined, async () => 'fresh');
    expect(await second).toBe('fresh');
    await expect(first).rejects.toMatchObject({ kind: 'Cancelled' });
  });
});
