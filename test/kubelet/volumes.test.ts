/** Volumes that a pod without an API server can have. */

import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { busyboxImage } from '../fixtures/busybox-image.ts';
import { FOREVER, KubeletWorld, statusOf } from '../fixtures/kubelet-world.ts';
import { makeSharedMount, mountsBelow, unmountBelow } from '../fixtures/mounts.ts';
import { PlannedPods } from '../fixtures/planned-pods.ts';

const run = promisify(execFile);
const TIMEOUT_MS = 90_000;
/** The pod with a container that dies. */
const PROVOKED = ['empty-cairn-test'];

const pods = new PlannedPods();
let world: KubeletWorld;

beforeAll(async () => {
  world = await KubeletWorld.create();
  await mkdir(join(onHost(world), 'settings/deep'), { recursive: true });
  await mkdir(join(onHost(world), 'spread'));
  await writeFile(join(onHost(world), 'settings/colour'), 'green\n');
  await writeFile(join(onHost(world), 'settings/deep/shape'), 'round\n');
  await makeSharedMount(join(onHost(world), 'spread'));
  await world.registry.push(
    'cairn/data',
    busyboxImage({}, [{ path: 'data/' }, { path: 'data/fact', data: '42\n' }]),
    '1',
  );
  await pods.start(world);
}, TIMEOUT_MS);

afterAll(async () => {
  if (!world) return;
  await unmountBelow(join(onHost(world), 'spread'));
  expect(await world.end(PROVOKED)).toEqual([]);
}, TIMEOUT_MS);

/** A directory of the host for these pods. */
const onHost = ({ daemon }: KubeletWorld) => join(daemon.directory, 'on-host');

describe('a directory of the host', () => {
  const reading = pods.pod('reading', (it) => ({
    volumes: [{ name: 'settings', hostPath: { path: join(onHost(it), 'settings'), type: 'Directory' } }],
    containers: [
      it.container(
        'main',
        `cat /etc/settings/colour /shape /deep/shape; touch /etc/settings/new 2>/dev/null || echo refused; ${FOREVER}`,
        {
          volumeMounts: [
            { name: 'settings', mountPath: '/etc/settings', readOnly: true },
            { name: 'settings', mountPath: '/shape', subPath: 'deep/shape' },
            { name: 'settings', mountPath: '/deep', subPathExpr: '$(WHERE)' },
          ],
          env: [{ name: 'WHERE', value: 'deep' }],
        },
      ),
    ],
  }));
  test(
    'is there, read-only where asked, and so are its sub paths',
    async () => {
      await world.ready(reading);
      const log = await world.output(reading, 'main');
      expect(log).toMatch(/^green\nround\nround\n/);
      expect(log).toMatch(/refused\n$/);
    },
    TIMEOUT_MS,
  );

  const missing = pods.pod('missing', (it) => ({
    volumes: [{ name: 'new', hostPath: { path: join(onHost(it), 'made/by/kubelet'), type: 'DirectoryOrCreate' } }],
    containers: [
      it.container('main', `echo written > /new/file; ${FOREVER}`, {
        volumeMounts: [{ name: 'new', mountPath: '/new' }],
      }),
    ],
  }));
  test(
    'is made when it is missing, and written through',
    async () => {
      await world.ready(missing);
      expect(await readFile(join(onHost(world), 'made/by/kubelet/file'), 'utf8')).toBe('written\n');
    },
    TIMEOUT_MS,
  );

  const spread = pods.pod('spread', (it) => {
    const volumeMounts = (mountPropagation: string) => [{ name: 'spread', mountPath: '/spread', mountPropagation }];
    return {
      volumes: [{ name: 'spread', hostPath: { path: join(onHost(it), 'spread') } }],
      containers: [
        it.container('receives', FOREVER, { volumeMounts: volumeMounts('HostToContainer') }),
        it.container('alone', FOREVER, { volumeMounts: volumeMounts('None') }),
        it.container('gives', `mkdir -p /spread/inner; mount -t tmpfs none /spread/inner; ${FOREVER}`, {
          volumeMounts: volumeMounts('Bidirectional'),
          securityContext: { privileged: true },
        }),
      ],
    };
  });
  test(
    'spreads mounts as far as asked',
    async () => {
      await world.ready(spread);
      const directory = join(onHost(world), 'spread');
      await mkdir(join(directory, 'outer'));
      await run('mount', ['-t', 'tmpfs', 'none', join(directory, 'outer')]);
      const mountsOf = async (container: string) => {
        const lines = (await world.exec(spread, container, 'cat /proc/self/mounts')).split('\n');
        return lines.map((line) => line.split(' ')[1]).filter((path) => path?.startsWith('/spread/'));
      };
      expect((await mountsOf('receives')).sort()).toEqual(['/spread/inner', '/spread/outer']);
      expect(await mountsOf('alone')).toEqual([]);
      expect((await mountsOf('gives')).sort()).toEqual(['/spread/inner', '/spread/outer']);
      expect(await mountsBelow(directory)).toContain(join(directory, 'inner'));
    },
    TIMEOUT_MS,
  );
});

describe('an emptyDir', () => {
  const empty = pods.pod('empty', (it) => {
    const volumeMounts = [
      { name: 'disk', mountPath: '/disk' },
      { name: 'memory', mountPath: '/memory' },
    ];
    return {
      volumes: [
        { name: 'disk', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
      ],
      containers: [
        it.container('writes', `echo to disk > /disk/file; echo to memory > /memory/file; ${FOREVER}`, {
          volumeMounts,
        }),
        it.container('reads', `until cat /disk/file /memory/file; do sleep 0.2; done 2>/dev/null; ${FOREVER}`, {
          volumeMounts,
        }),
        it.container('dies', 'until cat /memory/file; do sleep 0.2; done 2>/dev/null; sleep 1; exit 1', {
          volumeMounts,
        }),
      ],
    };
  });
  test(
    'is shared by the containers, outlives them, and lies in memory when asked',
    async () => {
      await world.until(empty, (pod) => statusOf(pod, 'dies').restartCount > 0);
      await world.until(empty, (pod) => statusOf(pod, 'reads').state.running !== undefined);
      expect(await world.previousLog(empty, 'dies')).toBe('to memory\n');
      expect(await world.output(empty, 'reads')).toContain('to disk\nto memory\n');
      const mounts = await world.exec(empty, 'reads', 'cat /proc/self/mounts');
      expect(mounts).toMatch(/^\S+ \/memory tmpfs rw\S*,size=8192k/m);
      expect(mounts).not.toMatch(/ \/disk tmpfs /);
    },
    TIMEOUT_MS,
  );
});

describe('a volume of the pod’s own fields', () => {
  const described = pods.pod('described', (it) => ({
    annotations: { colour: 'blue' },
    volumes: [
      {
        name: 'about',
        downwardAPI: {
          items: [
            { path: 'name', fieldRef: { fieldPath: 'metadata.name' } },
            { path: 'colour', mode: 0o400, fieldRef: { fieldPath: "metadata.annotations['colour']" } },
          ],
        },
      },
    ],
    containers: [
      it.container('main', `cat /about/name; echo; stat -L -c %a /about/colour; echo $ADDRESS $LIMIT; ${FOREVER}`, {
        volumeMounts: [{ name: 'about', mountPath: '/about' }],
        resources: { limits: { memory: '64Mi' } },
        env: [
          { name: 'ADDRESS', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
          { name: 'LIMIT', valueFrom: { resourceFieldRef: { resource: 'limits.memory' } } },
        ],
      }),
    ],
  }));
  test(
    'is there, as are variables of them',
    async () => {
      const { status } = await world.ready(described);
      expect(await world.output(described, 'main')).toBe(`described-cairn-test\n400\n${status.podIP} ${64 << 20}\n`);
      expect(await world.exec(described, 'main', 'cat /about/colour')).toBe('blue');
    },
    TIMEOUT_MS,
  );
});

describe('an image as a volume', () => {
  const image = pods.pod('image', (it) => ({
    volumes: [{ name: 'data', image: { reference: `${it.registry.host}/cairn/data:1` } }],
    containers: [
      it.container(
        'main',
        `cat /whole/data/fact /part/fact; touch /whole/new 2>/dev/null || echo refused; ${FOREVER}`,
        {
          volumeMounts: [
            { name: 'data', mountPath: '/whole' },
            { name: 'data', mountPath: '/part', subPath: 'data' },
          ],
        },
      ),
    ],
  }));
  test(
    'is mounted read-only, whole or a part of it',
    async () => {
      await world.ready(image);
      const log = await world.output(image, 'main');
      expect(log).toMatch(/^42\n42\n/);
      expect(log).toMatch(/refused\n$/);
    },
    TIMEOUT_MS,
  );
});
