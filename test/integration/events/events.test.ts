/** Container events over the CRI, through the life and death of the daemon. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { type ContainerEventResponse, ContainerEventType, RuntimeService } from '../../../src/generated/cri.js';
import { CriNode, eventually } from '../../fixtures/cri-node.ts';

const runtime = RuntimeService.methods;
const TIMEOUT_MS = 60_000;
const KINDS: Readonly<Record<number, string>> = {
  [ContainerEventType.CONTAINER_CREATED_EVENT]: 'created',
  [ContainerEventType.CONTAINER_STARTED_EVENT]: 'started',
  [ContainerEventType.CONTAINER_STOPPED_EVENT]: 'stopped',
  [ContainerEventType.CONTAINER_DELETED_EVENT]: 'deleted',
};

let node: CriNode;
beforeAll(async () => {
  node = await CriNode.create();
}, TIMEOUT_MS);
afterEach(() => node.removePods());
afterAll(() => node?.[Symbol.asyncDispose](), TIMEOUT_MS);

/** Reads events until it is disposed. */
class Reader implements AsyncDisposable {
  readonly seen: ContainerEventResponse[] = [];
  readonly #controller = new AbortController();
  readonly #done: Promise<void>;

  constructor() {
    this.#done = this.#read();
  }

  async #read(): Promise<void> {
    const { signal } = this.#controller;
    for await (const event of node.rpc.stream(runtime.getContainerEvents, {}, { signal })) this.seen.push(event);
  }

  /** `ID kind` by the names of `ids`. */
  told(ids: Readonly<Record<string, string>>): string[] {
    const names = new Map(Object.entries(ids).map(([name, id]) => [id, name]));
    return this.seen.flatMap(({ containerId, containerEventType }) => {
      const name = names.get(containerId);
      return name === undefined ? [] : [`${name} ${KINDS[containerEventType]}`];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#controller.abort();
    await this.#done.catch(() => undefined);
  }
}

describe('container events', () => {
  test(
    'tell creation, start, stop and deletion to every reader, with the statuses at that moment',
    async () => {
      await using one = new Reader();
      await using two = new Reader();
      await sleep(200);
      const pod = await node.runPod(node.podConfig('life'));
      const container = await node.runContainer(pod, 'app', 'exec sleep 1000');
      await node.rpc.call(runtime.stopContainer, { containerId: container, timeout: 0 });
      await node.rpc.call(runtime.removeContainer, { containerId: container });
      await node.rpc.call(runtime.removePodSandbox, { podSandboxId: pod });
      const ids = { pod, container };
      const whole = [
        ...['pod created', 'pod started', 'container created', 'container started', 'container stopped'],
        ...['container deleted', 'pod stopped', 'pod deleted'],
      ];
      for (const reader of [one, two]) {
        await eventually('all events are there', () => reader.told(ids).length >= whole.length);
        expect(reader.told(ids)).toEqual(whole);
        const states = reader.seen
          .filter(({ podSandboxStatus }) => podSandboxStatus?.id === pod)
          .map((event) => event.containersStatuses.map(({ state, exitCode }) => [state, exitCode]));
        expect(states).toEqual([[], [], [[0, 0]], [[1, 0]], [[2, 137]], [], [], []]);
        for (const { podSandboxStatus, createdAt } of reader.seen) {
          expect(podSandboxStatus?.metadata).toMatchObject({ name: 'life', uid: 'life-uid' });
          expect(Math.abs(Number(createdAt) / 1e6 - Date.now())).toBeLessThan(30_000);
        }
      }
    },
    TIMEOUT_MS,
  );

  test(
    'a killed daemon tells at its start what it missed, once, and goes on from there',
    async () => {
      const pod = await node.runPod(node.podConfig('missed'));
      const lives = await node.runContainer(pod, 'lives', 'exec sleep 1000');
      const ends = await node.runContainer(pod, 'ends', 'sleep 1; exit 7');
      const ids = { pod, lives, ends };
      await node.daemon.stop('SIGKILL');
      await sleep(1_300);
      await node.daemon.start();
      await using reader = new Reader();
      await eventually('the missed stop is told', () => reader.told(ids).length > 0);
      expect(reader.told(ids)).toEqual(['ends stopped']);
      const [stopped] = reader.seen;
      const ended = stopped?.containersStatuses.find(({ id }) => id === ends);
      expect([ended?.exitCode, stopped?.podSandboxStatus?.id]).toEqual([7, pod]);
      await node.rpc.call(runtime.stopContainer, { containerId: lives, timeout: 0 });
      await eventually('the next stop is told', () => reader.told(ids).length > 1);
      expect(reader.told(ids)).toEqual(['ends stopped', 'lives stopped']);
    },
    TIMEOUT_MS,
  );
});
