/** Every setting of Cairn, with its default and what it means. README and `cairnd config default` come from here. */
import {
  choice,
  flag,
  integer,
  matching,
  named,
  path,
  paths,
  program,
  type Settings,
  section,
  text,
  texts,
} from './schema.ts';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const;

const HOST_PORT = /^(\[[0-9a-fA-F:]+\]|[^\s:/]+):(\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/;
const CIDR4 = /^\d{1,3}(\.\d{1,3}){3}\/([89]|[12]\d|30)$/;
const CIDR6 = /^[0-9a-fA-F:]+\/\d{1,3}$/;

export const declaration = {
  root: path(
    'What must survive a reboot: database, blobs, snapshots. On a disk that overlayfs can write to.',
    '/var/lib/cairn',
  ),
  state: path('What belongs to the running system: sandboxes, bundles, sockets. Best on a tmpfs.', '/run/cairn'),
  listen: matching('The gRPC socket. Empty: STATE/cairn.sock.', /^unix:\/\/\/.+$/, 'unix:///PATH', ''),
  metricsAddress: matching(
    'Where /metrics is served, HOST:PORT (port 0: any free one). Empty: nowhere.',
    HOST_PORT,
    'HOST:PORT',
    '',
  ),
  logLevel: choice('What is logged.', LOG_LEVELS, 'info'),
  logFormat: choice('How it is logged; auto is text on a terminal, else JSON.', ['auto', 'json', 'text'], 'auto'),

  registry: section('Where images come from.', {
    configPath: path('Directory of HOST/hosts.toml files (mirrors, TLS), as for containerd.', '/etc/cairn/certs.d'),
    dockerConfig: path('A docker config.json whose credentials are used when a request has none. Empty: none.', ''),
  }),
  images: section('The image store.', {
    downloadsMax: integer('Layers downloaded at once, over all pulls.', 1, 64, 6),
    unpacksMax: integer('Layers unpacked at once, over all pulls.', 1, 64, 2),
    pullProgressTimeoutSeconds: integer(
      'A pull that gets nothing from its registry for so long ends. 0: only the limits of each request count.',
      0,
      86_400,
      300,
    ),
    pinned: texts('Names of images that are never garbage: exact, or a prefix that ends in *.', []),
  }),
  network: section('Pod networks.', {
    confDir: path('Directory of CNI configuration lists; the first valid one is used.', '/etc/cni/net.d'),
    binDirs: paths('Directories of CNI plugins, searched in order.', ['/opt/cni/bin', '/usr/lib/cni']),
    netnsDir: path('Where network namespaces are pinned.', '/run/netns'),
    embedded: flag('Use the bridge network that Cairn brings along when confDir holds none.', false),
    podCidr: flag(
      "Write a bridge network into confDir for the node's pod CIDRs when the kubelet tells them and there is no other. " +
        'Leave it off where a network add-on will bring its own.',
      false,
    ),
    bridge: matching(
      "Name of the embedded network's bridge.",
      /^[a-z][a-z0-9_.-]{0,14}$/,
      'an interface name (at most 15 characters)',
      'cairn0',
    ),
    subnet: matching(
      'IPv4 subnet of the embedded network.',
      CIDR4,
      'an IPv4 subnet such as 10.89.0.0/16',
      '10.89.0.0/16',
    ),
    subnet6: matching('IPv6 subnet of the embedded network. Empty: no IPv6.', CIDR6, 'an IPv6 subnet', ''),
  }),
  streaming: section('Exec, attach and port-forward.', {
    address: matching('Where the streaming server listens, HOST:PORT.', HOST_PORT, 'HOST:PORT', '127.0.0.1:0'),
    tlsCert: path('PEM file with the certificate for https and wss. Empty: plain HTTP.', ''),
    tlsKey: path('PEM file with its key.', ''),
    idleTimeoutSeconds: integer('How long nothing may move before a connection is closed.', 1, 2_000_000, 14_400),
  }),
  sandbox: section('Pod sandboxes.', {
    image: text('Image of the init process in pods that share one PID namespace. Empty: catatonit of this host.', ''),
    catatonit: program('The init program used without an image.', 'catatonit'),
    cgroupParent: matching(
      'Parent cgroup of pods whose request names none.',
      /^\/\S+$/,
      'a cgroup path such as /cairn',
      '/cairn',
    ),
  }),
  containers: section('Containers.', {
    conmon: program('The container monitor.', 'conmon'),
    defaultRuntime: text('The runtime handler of pods that ask for none.', 'runc'),
    rlimits: texts("Resource limits NAME=SOFT:HARD, such as nofile=1024:524288. Those not named are cairnd's own.", []),
    logSizeBytesMax: integer("Size at which a container's log is cut off. 0: never.", 0, 2 ** 50, 0),
  }),
  cgroup: section('Cgroups.', {
    driver: choice(
      "Who makes the cgroups of pods and containers: the daemon itself or systemd. The kubelet's must be the same (it asks).",
      ['cgroupfs', 'systemd'],
      'cgroupfs',
    ),
  }),
  cdi: section('Devices by name: the Container Device Interface.', {
    specDirs: paths('Directories of CDI specs, JSON or YAML; a later one has the last word on a device.', [
      '/etc/cdi',
      '/var/run/cdi',
    ]),
  }),
  runtimes: named(
    'OCI runtimes, by the handler name that RuntimeClass uses.',
    {
      path: program("The runtime's program.", 'runc'),
      root: path("Where it keeps its containers' state, lost at reboot. Empty: STATE/runtimes/NAME.", ''),
    },
    { runc: {} },
  ),
} as const;

/** The validated settings, frozen. */
export type Config = Settings<typeof declaration>;
