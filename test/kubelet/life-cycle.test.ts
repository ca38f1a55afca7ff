/** Pods from their init containers to their end, as the kubelet sees them. */

import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { FOREVER, KubeletWorld, statusOf } from '../fixtures/kubelet-world.ts';
import { PlannedPods } from '../fixtures/planned-pods.ts';

const TIMEOUT_MS = 90_000;
/** Pods, an image and a command whose failures these tests want. */
const PROVOKED = [
  ...['crashing', 'repeated', 'batch', 'imageless', 'unreachable', 'commandless', 'rootless'].map(
    (name) => `${name}-cairn-test`,
  ),
  ...['cairn/nowhere:1', 'no-such-program'],
];

const pods = new PlannedPods();
let world: KubeletWorld;

beforeAll(async () => {
  world = await KubeletWorld.create();
  await mkdir(shared(world));
  await pods.start(world);
}, TIMEOUT_MS);

afterAll(async () => {
  if (world) expect(await world.end(PROVOKED)).toEqual([]);
}, TIMEOUT_MS);

/** A directory of the host in which containers leave marks that outlive them. */
function shared({ daemon }: KubeletWorld): string {
  return join(daemon.directory, 'shared');
}
const sharedVolume = (it: KubeletWorld) => ({ name: 'shared', hostPath: { path: shared(it), type: 'Directory' } });
const sharedMount = { volumeMounts: [{ name: 'shared', mountPath: '/shared' }] };
const scratchVolume = { name: 'scratch', emptyDir: {} };
const scratchMount = { volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }] };

const marks = (name: string) => readFile(join(shared(world), name), 'utf8');

const ordered = pods.pod('ordered', (it) => ({
  volumes: [scratchVolume],
  initContainers: [
    it.container('first', 'echo first >> /scratch/order', scratchMount),
    it.container('second', 'echo second >> /scratch/order', scratchMount),
  ],
  containers: [it.container('main', `cat /scratch/order; ${FOREVER}`, scratchMount)],
}));

describe('init containers', () => {
  test(
    'run one after the other to their end, and then the containers',
    async () => {
      const pod = await world.ready(ordered);
      for (const name of ['first', 'second']) {
        expect(statusOf(pod, name).state.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' });
      }
      expect(await world.output(ordered, 'main')).toBe('first\nsecond\n');
    },
    TIMEOUT_MS,
  );

  const repeated = pods.pod('repeated', (it) => ({
    volumes: [scratchVolume],
    initContainers: [it.container('init', '[ -e /scratch/seen ] || { touch /scratch/seen; exit 4; }', scratchMount)],
    containers: [it.container('main', FOREVER)],
  }));
  test(
    'that fail are run again',
    async () => {
      const init = statusOf(await world.ready(repeated), 'init');
      expect(init).toMatchObject({ restartCount: 1, state: { terminated: { exitCode: 0 } } });
    },
    TIMEOUT_MS,
  );
});

describe('a sidecar', () => {
  const sidecar = pods.pod('sidecar', (it) => ({
    volumes: [scratchVolume],
    initContainers: [
      it.container('side', `sleep 1; touch /scratch/started; ${FOREVER}`, {
        ...scratchMount,
        restartPolicy: 'Always',
        startupProbe: { exec: { command: ['test', '-e', '/scratch/started'] }, periodSeconds: 1, failureThreshold: 30 },
      }),
    ],
    containers: [it.container('main', `ls /scratch; ${FOREVER}`, scratchMount)],
  }));
  test(
    'has started before the containers begin, and stays beside them',
    async () => {
      const side = statusOf(await world.ready(sidecar), 'side');
      expect(side).toMatchObject({ ready: true, started: true, restartCount: 0 });
      expect(side.state.running).toBeDefined();
      expect(await world.output(sidecar, 'main')).toBe('started\n');
    },
    TIMEOUT_MS,
  );

  const batch = pods.pod('batch', (it) => ({
    restartPolicy: 'Never',
    volumes: [scratchVolume],
    initContainers: [
      it.container('side', `[ -e /scratch/seen ] || { touch /scratch/seen; exit 4; }; ${FOREVER}`, {
        ...scratchMount,
        restartPolicy: 'Always',
      }),
    ],
    containers: [it.container('main', 'sleep 4', scratchMount)],
  }));
  test(
    'that dies is started again, and is ended when the containers are done',
    async () => {
      const pod = await world.until(batch, ({ status }) => status.phase === 'Succeeded');
      expect(statusOf(pod, 'side').restartCount).toBe(1);
      expect(statusOf(pod, 'side').state.terminated).toBeDefined();
      expect(statusOf(pod, 'main').state.terminated).toMatchObject({ exitCode: 0, reason: 'Completed' });
    },
    TIMEOUT_MS,
  );
});

describe('a container that ends', () => {
  const crashing = pods.pod('crashing', (it) => ({ containers: [it.container('main', 'echo dying; exit 3')] }));
  test(
    'is started again, with a pause, and its exit code is told',
    async () => {
      const paused = await world.until(crashing, (pod) => {
        const { restartCount, state } = statusOf(pod, 'main');
        return restartCount >= 2 && state.waiting?.reason === 'CrashLoopBackOff';
      });
      expect(statusOf(paused, 'main').lastState.terminated).toMatchObject({ exitCode: 3, reason: 'Error' });
      expect(await world.previousLog(crashing, 'main')).toBe('dying\n');
    },
    TIMEOUT_MS,
  );

  const failing = pods.pod('failing', (it) => ({
    restartPolicy: 'Never',
    containers: [it.container('main', 'sleep 1; exit 7')],
  }));
  test(
    'is not started again under the policy Never',
    async () => {
      const pod = await world.until(failing, ({ status }) => status.phase === 'Failed');
      expect(statusOf(pod, 'main')).toMatchObject({ restartCount: 0, state: { terminated: { exitCode: 7 } } });
    },
    TIMEOUT_MS,
  );

  const speaking = pods.pod('speaking', (it) => ({
    restartPolicy: 'Never',
    containers: [
      it.container('file', 'echo last words > /last; exit 1', { terminationMessagePath: '/last' }),
      it.container('log', 'echo from the log; exit 1', { terminationMessagePolicy: 'FallbackToLogsOnError' }),
    ],
  }));
  test(
    'leaves its last words',
    async () => {
      const pod = await world.until(speaking, ({ status }) => status.phase === 'Failed');
      expect(statusOf(pod, 'file').state.terminated?.message).toBe('last words\n');
      expect(statusOf(pod, 'log').state.terminated?.message).toBe('from the log\n');
    },
    TIMEOUT_MS,
  );

  const greedy = pods.pod('greedy', (it) => ({
    restartPolicy: 'Never',
    containers: [
      it.container('main', 'sleep 1; exec dd if=/dev/zero of=/dev/null bs=256M count=1', {
        resources: { limits: { memory: '32Mi' } },
      }),
    ],
  }));
  test(
    'by its memory limit is seen as OOMKilled',
    async () => {
      const pod = await world.until(greedy, ({ status }) => status.phase === 'Failed');
      expect(statusOf(pod, 'main').state.terminated).toMatchObject({ exitCode: 137, reason: 'OOMKilled' });
    },
    TIMEOUT_MS,
  );
});

describe('a container that can not start', () => {
  const imageless = pods.pod('imageless', (it) => ({
    containers: [{ name: 'main', image: `${it.registry.host}/cairn/nowhere:1` }],
  }));
  test(
    'for want of an image says so',
    async () => {
      const waiting = await waitingReason(imageless, /^(ErrImagePull|ImagePullBackOff)$/);
      expect(waiting?.message).toContain('cairn/nowhere:1');
    },
    TIMEOUT_MS,
  );

  const unreachable = pods.pod('unreachable', () => ({
    containers: [{ name: 'main', image: '127.0.0.1:1/cairn/nowhere:1' }],
  }));
  test(
    'for want of a registry says RegistryUnavailable',
    async () => {
      const waiting = await waitingReason(unreachable, /^(RegistryUnavailable|ImagePullBackOff)$/);
      expect(`${waiting?.reason}: ${waiting?.message}`).toContain('RegistryUnavailable: ');
    },
    TIMEOUT_MS,
  );

  const commandless = pods.pod('commandless', (it) => ({
    restartPolicy: 'Never',
    containers: [{ ...it.container('main', ''), command: ['no-such-program'] }],
  }));
  test(
    'for want of its command is a StartError with the words of the runtime',
    async () => {
      const pod = await world.until(commandless, ({ status }) => status.phase === 'Failed');
      const { terminated } = statusOf(pod, 'main').state;
      expect(terminated).toMatchObject({ exitCode: 128, reason: 'StartError' });
      expect(terminated?.message).toContain('no-such-program');
    },
    TIMEOUT_MS,
  );

  const rootless = pods.pod('rootless', (it) => ({
    containers: [it.container('main', FOREVER, { securityContext: { runAsNonRoot: true } })],
  }));
  test(
    'because the image is of root is refused by the kubelet, which learnt the user from cairnd',
    async () => {
      const waiting = await waitingReason(rootless, /^CreateContainerConfigError$/);
      expect(waiting?.message).toContain('runAsNonRoot');
    },
    TIMEOUT_MS,
  );

  async function waitingReason(name: string, reason: RegExp) {
    const check = (text: string | undefined) => text !== undefined && reason.test(text);
    const pod = await world.until(name, (each) => check(statusOf(each, 'main').state.waiting?.reason));
    return statusOf(pod, 'main').state.waiting;
  }
});

describe('the end of a pod', () => {
  const polite = pods.pod('polite', (it) => ({
    terminationGracePeriodSeconds: 20,
    volumes: [sharedVolume(it)],
    containers: [
      it.container('main', 'trap "echo term >> /shared/polite; exit 0" TERM; while :; do sleep 0.2; done', {
        ...sharedMount,
        lifecycle: {
          postStart: { exec: { command: ['sh', '-c', 'echo postStart >> /shared/polite'] } },
          preStop: { exec: { command: ['sh', '-c', 'sleep 1; echo preStop >> /shared/polite'] } },
        },
      }),
    ],
  }));
  test(
    'is told by preStop and then by SIGTERM, and leaves nothing',
    async () => {
      const pod = await world.ready(polite);
      expect(await marks('polite')).toBe('postStart\n');
      const begunAt = Date.now();
      await world.kubelet.remove(polite);
      await world.gone(pod);
      expect(await marks('polite')).toBe('postStart\npreStop\nterm\n');
      expect(Date.now() - begunAt).toBeLessThan(15_000);
    },
    TIMEOUT_MS,
  );

  const deaf = pods.pod('deaf', (it) => ({
    terminationGracePeriodSeconds: 3,
    volumes: [sharedVolume(it)],
    containers: [
      it.container('main', 'trap "date +%s >> /shared/deaf" TERM; while :; do sleep 0.1; done', sharedMount),
    ],
  }));
  test(
    'comes by force when the grace period is over',
    async () => {
      const pod = await world.ready(deaf);
      await world.kubelet.remove(deaf);
      await world.gone(pod);
      const toldAt = Number((await marks('deaf')).trim());
      expect(Date.now() / 1000 - toldAt).toBeGreaterThan(2.5);
    },
    TIMEOUT_MS,
  );

  const changed = pods.pod('changed', (it) => ({ containers: [it.container('main', `echo old; ${FOREVER}`)] }));
  test(
    'comes when its manifest is another: a new pod takes its place',
    async () => {
      const before = await world.ready(changed);
      await world.apply(changed, { containers: [world.container('main', `echo new; ${FOREVER}`)] });
      await world.until(changed, (pod) => pod.metadata.uid !== before.metadata.uid);
      await world.ready(changed);
      expect(await world.output(changed, 'main')).toBe('new\n');
    },
    TIMEOUT_MS,
  );
});

test('the kubelet hears of all this by events, and never falls back to asking', async () => {
  await world.ready(ordered);
  const lines = world.kubelet.logLines().map((line) => JSON.stringify(line));
  const started = /Received Container Started Event.*ordered-cairn-test/;
  expect(lines.some((line) => started.test(line))).toBe(true);
  expect(lines.filter((line) => line.includes('Fall back to Generic PLEG'))).toEqual([]);
});
