/**
 * `runtimeConfig`: what Cairn knows of a pod, under the names that CNI's conventions gave it (CONVENTIONS.md of the CNI
 * project). A plugin gets only what its `capabilities` ask for.
 */
import { CairnError } from '../base/errors.ts';
import type { PluginConfig } from './conflist.ts';
import type { AttachRequest } from './index.ts';
import type { JsonRecord } from './json.ts';

const INGRESS = 'kubernetes.io/ingress-bandwidth';
const EGRESS = 'kubernetes.io/egress-bandwidth';
/** What Kubernetes accepts in the annotations, in bits a second. */
const RATE_BITS_MIN = 1e3;
const RATE_BITS_MAX = 1e15;
/** Bits that may pass at once above the rate: containerd's and CRI-O's value, the most that the plugin takes. */
const BURST_BITS = 2 ** 32 - 1;

const SUFFIXES: Readonly<Record<string, number>> = {
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

/** What `plugin` is told of the pod; undefined when there is nothing. Throws InvalidArgument for a wrong annotation. */
export function runtimeConfigFor(plugin: PluginConfig, request: AttachRequest): JsonRecord | undefined {
  const known = plugin.capabilities.flatMap((name) => {
    const value = CAPABILITIES[name]?.(request);
    return value === undefined ? [] : [[name, value] as const];
  });
  return known.length === 0 ? undefined : Object.fromEntries(known);
}

/** The port mappings that take a port of the host. */
export function hostPortMappings(request: AttachRequest): readonly JsonRecord[] {
  return request.portMappings
    .filter(({ hostPort }) => hostPort > 0)
    .map(({ hostPort, containerPort, protocol, hostIp }) => ({
      hostPort,
      containerPort,
      protocol,
      ...(hostIp === '' ? {} : { hostIP: hostIp }),
    }));
}

const CAPABILITIES: Readonly<Record<string, (request: AttachRequest) => unknown>> = {
  portMappings: (request) => whenAny(hostPortMappings(request)),
  bandwidth: bandwidthOf,
  dns: ({ dns }) => (dns.servers.length + dns.searches.length + dns.options.length === 0 ? undefined : dns),
  ips: ({ ips }) => whenAny(ips ?? []),
  mac: ({ mac }) => mac,
  cgroupPath: ({ cgroupParent }) => (cgroupParent === '' ? undefined : cgroupParent),
  // containerd's name for it; plugins in the field ask for it.
  'io.kubernetes.cri.pod-annotations': ({ annotations }) => annotations,
};

function whenAny<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length === 0 ? undefined : list;
}

function bandwidthOf(request: AttachRequest): JsonRecord | undefined {
  const ingressRate = rateOf(request, INGRESS);
  const egressRate = rateOf(request, EGRESS);
  if (ingressRate === undefined && egressRate === undefined) return undefined;
  // The plugin refuses a burst without a rate.
  return {
    ...(ingressRate === undefined ? {} : { ingressRate, ingressBurst: BURST_BITS }),
    ...(egressRate === undefined ? {} : { egressRate, egressBurst: BURST_BITS }),
  };
}

/** Bits a second, from an annotation that holds a Kubernetes quantity (`10M`, `1Gi`, `1e6`). */
function rateOf(request: AttachRequest, annotation: string): number | undefined {
  const text = request.annotations[annotation];
  if (text === undefined) return undefined;
  const [, number, exponent, suffix = ''] =
    /^\+?(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d{1,3})|([a-zA-Z]*))$/.exec(text) ?? [];
  const factor = SUFFIXES[suffix];
  const rate = number === undefined || factor === undefined ? Number.NaN : Number(number + (exponent ?? '')) * factor;
  if (!(rate >= RATE_BITS_MIN && rate <= RATE_BITS_MAX)) {
    throw new CairnError(
      'InvalidArgument',
      `annotation ${annotation}: ${JSON.stringify(text)} is not a rate from 1k to 1P bits a second`,
      { step: 'network.add' },
    );
  }
  return Math.ceil(rate);
}
