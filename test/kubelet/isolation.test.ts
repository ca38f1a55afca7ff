/** Namespaces, networks, names, users and limits of pods. */

import { existsSync } from 'node:fs';
import { readFile, readlink } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { cgroupDirectories } from '../fixtures/cgroup-tree.ts';
import type { Pod } from '../fixtures/kubelet-types.ts';
import { FOREVER, KubeletWorld, statusOf } from '../fixtures/kubelet-world.ts';
import { PlannedPods } from '../fixtures/planned-pods.ts';

const TIMEOUT_MS = 90_000;
const SERVE = 'mkdir /www; hostname > /www/index.html; exec httpd -f -h /www -p';

const pods = new PlannedPods();
let world: KubeletWorld;
const hostPort = await freePort();
const nodePort = await freePort();

beforeAll(async () => {
  world = await KubeletWorld.create();
  await pods.start(world);
}, TIMEOUT_MS);

afterAll(async () => {
  if (world) expect(await world.end()).toEqual([]);
}, TIMEOUT_MS);

const processesOf = async (pod: string, container: string) => world.exec(pod, container, 'ps -o pid,args');

describe('the processes of a pod', () => {
  const sharing = pods.pod('sharing', (it) => ({
    shareProcessNamespace: true,
    containers: [it.container('one', 'exec sleep 1111'), it.container('two', 'exec sleep 2222')],
  }));
  test(
    'see each other when they share their namespace, under an init of the pod',
    async () => {
      await world.ready(sharing);
      const seen = await processesOf(sharing, 'one');
      expect(seen).toContain('sleep 1111');
      expect(seen).toContain('sleep 2222');
      expect(seen).not.toMatch(/^\s+1 sleep/m);
    },
    TIMEOUT_MS,
  );

  const apart = pods.pod('apart', (it) => ({
    containers: [it.container('one', 'exec sleep 1111'), it.container('two', 'exec sleep 2222')],
  }));
  test(
    'see only their own container otherwise',
    async () => {
      await world.ready(apart);
      const seen = await processesOf(apart, 'one');
      expect(seen).toMatch(/^\s+1 sleep 1111$/m);
      expect(seen).not.toContain('sleep 2222');
    },
    TIMEOUT_MS,
  );

  const hostly = pods.pod('hostly', (it) => ({
    hostPID: true,
    hostIPC: true,
    containers: [it.container('main', `readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc; ${FOREVER}`)],
  }));
  test(
    'are those of the host with hostPID, and so is IPC',
    async () => {
      await world.ready(hostly);
      expect(await processesOf(hostly, 'main')).toContain(world.daemon.configFile);
      const ours = ['pid', 'ipc'].map((name) => readlink(`/proc/self/ns/${name}`));
      expect((await world.output(hostly, 'main')).trim().split('\n')).toEqual(await Promise.all(ours));
    },
    TIMEOUT_MS,
  );
});

describe('the network of a pod', () => {
  const served = pods.pod('served', (it) => ({
    containers: [it.container('main', `${SERVE} 8080`, { ports: [{ containerPort: 8080, hostPort }] })],
  }));
  test(
    'can be reached at its address, and at a port of the host',
    async () => {
      const { podIP = '' } = (await world.ready(served)).status;
      expect(await fetchText(podIP, 8080)).toBe('served-cairn-test\n');
      expect(await fetchText('127.0.0.1', hostPort)).toBe('served-cairn-test\n');
    },
    TIMEOUT_MS,
  );

  const visitor = pods.pod('visitor', (it) => ({ containers: [it.container('main', FOREVER)] }));
  test(
    'reaches other pods',
    async () => {
      await world.ready(visitor);
      const { podIP } = (await world.ready(served)).status;
      const page = await world.exec(visitor, 'main', `wget -q -O - http://${podIP}:8080/`);
      expect(page).toBe('served-cairn-test\n');
    },
    TIMEOUT_MS,
  );

  const onNode = pods.pod('on-node', (it) => ({
    hostNetwork: true,
    containers: [it.container('main', `${SERVE} ${nodePort}`)],
  }));
  test(
    'is the host’s with hostNetwork, and the name of the node its name',
    async () => {
      const { status } = await world.ready(onNode);
      expect(status.podIP).toBe(status.hostIP);
      expect(await fetchText('127.0.0.1', nodePort)).toMatch(/\S\n/);
      const interfaces = await world.exec(onNode, 'main', 'ip link');
      expect(interfaces).toContain(world.daemon.bridge);
    },
    TIMEOUT_MS,
  );

  const named = pods.pod('named', (it) => ({
    hostname: 'host',
    subdomain: 'sub',
    hostAliases: [{ ip: '10.1.2.3', hostnames: ['alias.test'] }],
    dnsPolicy: 'None',
    dnsConfig: {
      nameservers: ['10.9.8.7'],
      searches: ['one.test', 'two.test'],
      options: [{ name: 'ndots', value: '3' }, { name: 'edns0' }],
    },
    securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '77' }] },
    containers: [
      it.container('main', `hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /etc/resolv.conf; ${FOREVER}`),
    ],
  }));
  test(
    'has the names, the resolver and the sysctls that its manifest gives',
    async () => {
      const { status } = await world.ready(named);
      const [name, port, ...resolver] = (await world.output(named, 'main')).trim().split('\n');
      expect([name, port]).toEqual(['host', '77']);
      expect(resolver.toSorted()).toEqual([
        'nameserver 10.9.8.7',
        expect.stringMatching(/^options (ndots:3 edns0|edns0 ndots:3)$/),
        'search one.test two.test',
      ]);
      const hosts = await world.exec(named, 'main', 'cat /etc/hosts');
      expect(hosts).toMatch(/^10\.1\.2\.3\talias\.test$/m);
      expect(hosts).toMatch(new RegExp(`^${status.podIP}\\t.*host`, 'm'));
    },
    TIMEOUT_MS,
  );
});

describe('a container’s process', () => {
  const somebody = pods.pod('somebody', (it) => ({
    volumes: [{ name: 'scratch', emptyDir: {} }],
    securityContext: { runAsUser: 1001, runAsGroup: 2002, fsGroup: 3003, supplementalGroups: [4004] },
    containers: [
      it.container('main', `id -u; id -g; id -G; touch /scratch/new; stat -c %g /scratch/new; ${FOREVER}`, {
        volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }],
      }),
    ],
  }));
  test(
    'is of the user and the groups of the manifest',
    async () => {
      const pod = await world.ready(somebody);
      const [uid, gid, groups = '', group] = (await world.output(somebody, 'main')).split('\n');
      expect([uid, gid, groups.split(' ').toSorted(), group]).toEqual([
        '1001',
        '2002',
        ['2002', '3003', '4004'],
        '3003',
      ]);
      expect(statusOf(pod, 'main').user?.linux).toMatchObject({ uid: 1001, gid: 2002 });
    },
    TIMEOUT_MS,
  );

  const STATUS = 'grep -E "^(CapEff|Seccomp|NoNewPrivs):" /proc/self/status; touch /new && echo writes';
  const confined = pods.pod('confined', (it) => ({
    containers: [
      it.container('plain', `${STATUS}; ${FOREVER}`),
      it.container('tight', `${STATUS}; ${FOREVER}`, {
        securityContext: {
          capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] },
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
        },
      }),
      it.container('loose', `${STATUS}; ${FOREVER}`, { securityContext: { seccompProfile: { type: 'Unconfined' } } }),
      it.container('privileged', `${STATUS}; ${FOREVER}`, { securityContext: { privileged: true } }),
    ],
  }));
  test(
    'is confined as the manifest says, by the default seccomp profile else',
    async () => {
      await world.ready(confined);
      const fields = async (container: string) => {
        const log = await world.output(confined, container);
        const [, capabilities] = /CapEff:\s+0*(\w+)/.exec(log) ?? [];
        const [, seccomp] = /Seccomp:\s+(\d)/.exec(log) ?? [];
        const [, noNewPrivileges] = /NoNewPrivs:\s+(\d)/.exec(log) ?? [];
        return [capabilities, seccomp, noNewPrivileges, log.includes('writes')];
      };
      expect(await fields('plain')).toEqual(['a80425fb', '2', '0', true]);
      expect(await fields('tight')).toEqual(['400', '2', '1', false]);
      expect(await fields('loose')).toEqual(['a80425fb', '0', '0', true]);
      const [all, ...rest] = await fields('privileged');
      expect(BigInt(`0x${all}`)).toBeGreaterThan(0x1fffffffffn);
      expect(rest).toEqual(['0', '0', true]);
    },
    TIMEOUT_MS,
  );

  const expanded = pods.pod('expanded', (it) => ({
    containers: [
      it.container('main', '', {
        command: ['sh', '-c', `echo "$@" in $PWD; ${FOREVER}`, 'sh'],
        args: ['$(NAME)', 'x$$(NAME)'],
        env: [{ name: 'NAME', value: 'value' }],
        workingDir: '/made/for/it',
      }),
    ],
  }));
  test(
    'has the arguments, the variables and the working directory of the manifest',
    async () => {
      await world.ready(expanded);
      expect(await world.output(expanded, 'main')).toBe('value x$(NAME) in /made/for/it\n');
    },
    TIMEOUT_MS,
  );
});

describe('the resources of a pod', () => {
  const limited = pods.pod('limited', (it) => ({
    containers: [
      it.container('main', FOREVER, {
        resources: { requests: { cpu: '100m', memory: '32Mi' }, limits: { cpu: '250m', memory: '64Mi' } },
      }),
    ],
  }));
  test(
    'are limits of its cgroups, which lie where the kubelet has them',
    async () => {
      const pod = await world.ready(limited);
      expect(await limitsOf(pod, '')).toEqual({ memory: `${64 << 20}`, cpu: '25000' });
      expect(await limitsOf(pod, 'main')).toEqual({ memory: `${64 << 20}`, cpu: '25000' });
      expect(statusOf(pod, 'main').resources).toMatchObject({
        limits: { cpu: '250m', memory: '64Mi' },
        requests: { cpu: '100m', memory: '32Mi' },
      });
    },
    TIMEOUT_MS,
  );

  test(
    'are given back with the pod',
    async () => {
      const pod = await world.ready(limited);
      await world.kubelet.remove(limited);
      await world.gone(pod);
      const ofPod = (path: string) => path.includes(pod.metadata.uid);
      expect((await cgroupDirectories(world.kubelet.cgroupRoot)).filter(ofPod)).toEqual([]);
    },
    TIMEOUT_MS,
  );

  /** Memory limit and CPU quota of the pod's cgroup, or of a container's in it. */
  async function limitsOf(pod: Pod, container: string) {
    const id = container && (statusOf(pod, container).containerID ?? '').replace(/^\w+:\/\//, '');
    const ours = (await cgroupDirectories(world.kubelet.cgroupRoot)).filter((path) =>
      id ? path.includes(id) && !path.includes('conmon') : path.endsWith(`pod${pod.metadata.uid}`),
    );
    const read = async (name: string) => {
      const directory = ours.find((path) => existsSync(`${path}/${name}`));
      return directory && (await readFile(`${directory}/${name}`, 'utf8')).trim();
    };
    const memory = (await read('memory.max')) ?? (await read('memory.limit_in_bytes'));
    const cpu = (await read('cpu.max'))?.split(' ')[0] ?? (await read('cpu.cfs_quota_us'));
    return { memory, cpu };
  }
});

function fetchText(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = request({ host, port, path: '/', timeout: 10_000, agent: false }, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
      });
      response.once('end', () => resolve(body));
    });
    call.once('timeout', () => call.destroy(new Error(`no answer from ${host}:${port}`)));
    call.once('error', reject);
    call.end();
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        typeof address === 'object' && address ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}
