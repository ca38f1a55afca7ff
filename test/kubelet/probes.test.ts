/** Probes of all kinds, made by the kubelet: exec through cairnd, the others over the pod's network. */

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { FOREVER, isReady, KubeletWorld, runtime, statusOf } from '../fixtures/kubelet-world.ts';
import { PlannedPods } from '../fixtures/planned-pods.ts';

const TIMEOUT_MS = 90_000;
/** The health service that comes late, the command that does not end, the container that dies. */
const PROVOKED = ['failed to connect grpc service', 'sleep 7777', 'dying-cairn-test'];
const often = { periodSeconds: 1, timeoutSeconds: 5 };

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

const shared = ({ daemon }: KubeletWorld) => join(daemon.directory, 'shared');

describe('an exec probe', () => {
  const flagged = pods.pod('flagged', (it) => ({
    volumes: [{ name: 'shared', hostPath: { path: shared(it), type: 'Directory' } }],
    containers: [
      it.container('main', FOREVER, {
        volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
        readinessProbe: { exec: { command: ['test', '-e', '/shared/flag'] }, ...often, failureThreshold: 1 },
      }),
    ],
  }));
  test(
    'makes a container ready and not ready, and never starts it anew',
    async () => {
      const before = await world.until(flagged, (pod) => statusOf(pod, 'main').state.running !== undefined);
      expect(isReady(before)).toBe(false);
      await writeFile(join(shared(world), 'flag'), '');
      await world.ready(flagged);
      await rm(join(shared(world), 'flag'));
      const after = await world.until(flagged, (pod) => !isReady(pod));
      expect(statusOf(after, 'main').restartCount).toBe(0);
    },
    TIMEOUT_MS,
  );

  const slow = pods.pod('slow', (it) => ({
    containers: [
      it.container('main', FOREVER, {
        readinessProbe: {
          exec: { command: ['sh', '-c', 'setsid sleep 7777 & sleep 7777'] },
          periodSeconds: 30,
          timeoutSeconds: 1,
        },
      }),
    ],
  }));
  test(
    'that takes too long fails, and all its processes are ended',
    async () => {
      await world.until(slow, (pod) => statusOf(pod, 'main').state.running !== undefined);
      await waitForLog(/Probe failed/, /slow-cairn-test/);
      // The kubelet tries a probe thrice before it believes it.
      let processes = '';
      do {
        processes = await world.exec(slow, 'main', 'ps');
      } while (processes.includes('7777'));
      expect(processes).toContain('sleep 10000');
    },
    TIMEOUT_MS,
  );
});

describe('an http probe', () => {
  const web = 'mkdir /www; echo fine > /www/healthz; httpd -p 8080 -h /www';
  const dying = pods.pod('dying', (it) => ({
    containers: [
      it.container('main', `${web}; sleep 5; rm /www/healthz; ${FOREVER}`, {
        readinessProbe: { httpGet: { path: '/healthz', port: 8080 }, ...often },
        livenessProbe: { httpGet: { path: '/healthz', port: 8080 }, ...often, failureThreshold: 2 },
      }),
    ],
  }));
  test(
    'of liveness that fails ends the container, which is started again',
    async () => {
      await world.ready(dying);
      const pod = await world.until(dying, (each) => statusOf(each, 'main').restartCount > 0);
      expect(statusOf(pod, 'main').lastState.terminated).toMatchObject({ exitCode: 137, reason: 'Error' });
    },
    TIMEOUT_MS,
  );
});

describe('a tcp probe', () => {
  const starting = pods.pod('starting', (it) => ({
    containers: [
      it.container('main', `sleep 4; httpd -p 9000 -h /tmp; ${FOREVER}`, {
        startupProbe: { tcpSocket: { port: 9000 }, ...often, failureThreshold: 40 },
        livenessProbe: { tcpSocket: { port: 9000 }, ...often, failureThreshold: 1 },
      }),
    ],
  }));
  test(
    'of start-up keeps the liveness probe waiting until the port is open',
    async () => {
      const pod = await world.ready(starting);
      expect(statusOf(pod, 'main')).toMatchObject({ started: true, restartCount: 0 });
    },
    TIMEOUT_MS,
  );
});

describe('a grpc probe', () => {
  const healthy = pods.pod('healthy', (it) => ({
    containers: [it.container('main', FOREVER, { readinessProbe: { grpc: { port: 5000 }, ...often } })],
  }));
  test(
    'makes a container ready when its health service answers',
    async () => {
      const pod = await world.until(healthy, (each) => statusOf(each, 'main').state.running !== undefined);
      expect(isReady(pod)).toBe(false);
      const server = await serveHealth(statusOf(pod, 'main').containerID ?? '');
      try {
        await world.ready(healthy);
      } finally {
        server.kill();
      }
    },
    TIMEOUT_MS,
  );
});

/** A health service in the network namespace of that container: the image has none. */
async function serveHealth(containerID: string): Promise<ChildProcess> {
  const containerId = containerID.replace(/^\w+:\/\//, '');
  const { info } = await world.rpc.call(runtime.containerStatus, { containerId, verbose: true });
  const { pid } = JSON.parse(info['info'] ?? '{}') as { readonly pid: number };
  const server = new URL('../fixtures/grpc-health-main.ts', import.meta.url).pathname;
  const { NODE_OPTIONS: _, ...env } = process.env;
  return spawn('nsenter', [`--net=/proc/${pid}/ns/net`, process.execPath, server, '5000'], { stdio: 'inherit', env });
}

/** Waits for a line of the kubelet's log. */
async function waitForLog(message: RegExp, pod: RegExp): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!world.kubelet.logLines().some((line) => message.test(line.msg) && pod.test(JSON.stringify(line['pod'])))) {
    if (Date.now() > deadline) throw new Error(`the kubelet does not log ${message} about ${pod}`);
    await sleep(200);
  }
}
