/** PodSandboxConfig: checked, defaulted, and turned into the pod service's terms. */
import { isIP } from 'node:net';
import type { PortMapping as CriPortMapping, NamespaceOption, PodSandboxConfig } from '../generated/cri.js';
import type { PortMapping } from '../network/index.ts';
import type { PodConfig } from '../pods/index.ts';
import { absolutePath, integer, invalid, noNul, oneOf, required, userOrGroupId } from './fields.ts';
import { parsePodNamespaces } from './parse-namespaces.ts';
import { checkSelinux, parseAppArmor, parseSeccomp } from './parse-profiles.ts';
import { parseResources } from './parse-resources.ts';
import { parseUserNamespace } from './parse-user-namespace.ts';

/** enum Protocol. */
const PROTOCOLS: Readonly<Record<number, PortMapping['protocol']>> = { 0: 'tcp', 1: 'udp', 2: 'sctp' };
const PORT_MAX = 65_535;

export interface HostSecurity {
  readonly selinuxEnabled: boolean;
}

export function parsePod(config: PodSandboxConfig | null, runtimeHandler: string, host: HostSecurity): PodConfig {
  const { metadata, hostname, logDirectory, dnsConfig, portMappings, labels, annotations, linux, windows } = required(
    'config',
    config,
  );
  const { name, namespace, uid, attempt } = required('config.metadata', metadata);
  if (windows) throw invalid('config.windows', 'this is a Linux host');
  const security = linux?.securityContext ?? null;
  checkSandboxSecurity(security, host);
  return {
    metadata: { name: required('config.metadata.name', name), namespace, uid, attempt },
    hostname: oneLine('config.hostname', hostname),
    logDirectory: logDirectory === '' ? '' : absolutePath('config.log_directory', logDirectory),
    dns: dnsConfig ? parseDns(dnsConfig) : undefined,
    portMappings: portMappings.flatMap((mapping, index) => parsePort(`config.port_mappings[${index}]`, mapping)),
    labels,
    annotations,
    runtimeHandler,
    cgroupParent: parseCgroupParent(linux?.cgroupParent ?? ''),
    resources: parseResources('config.linux.resources', linux?.resources ?? null),
    overhead: parseResources('config.linux.overhead', linux?.overhead ?? null),
    sysctls: linux?.sysctls ?? {},
    namespaces: parsePodNamespaces(
      'config.linux.security_context.namespace_options',
      security?.namespaceOptions ?? null,
    ),
    userNamespace: parsePodUserNamespace(
      'config.linux.security_context.namespace_options',
      security?.namespaceOptions ?? null,
    ),
    privileged: security?.privileged ?? false,
  };
}

/** The kernel lets root of a user namespace mount /proc and mqueue only of namespaces that belong to it. */
function parsePodUserNamespace(field: string, options: NamespaceOption | null): PodConfig['userNamespace'] {
  const mappings = parseUserNamespace(`${field}.userns_options`, options?.usernsOptions ?? null);
  if (!mappings || !options) return undefined;
  const { pid, ipc } = parsePodNamespaces(field, options);
  for (const [kind, mode] of Object.entries({ pid, ipc })) {
    if (mode === 'node') throw invalid(`${field}.${kind}`, 'NODE can not be had with a user namespace of the pod');
  }
  return mappings;
}

type SandboxSecurity = NonNullable<NonNullable<PodSandboxConfig['linux']>['securityContext']>;

/**
 * The rest of a sandbox's security context is about a process of the sandbox. Cairn's sandboxes have none, or an init
 * that has no rights and no writable file in any case; so it is checked, and then there is nothing that it applies to.
 */
function checkSandboxSecurity(security: SandboxSecurity | null, { selinuxEnabled }: HostSecurity): void {
  if (!security) return;
  const field = 'config.linux.security_context';
  parseSeccomp(field, security.seccomp, security.seccompProfilePath);
  parseAppArmor(field, security.apparmor, '');
  checkSelinux(field, security.selinuxOptions, selinuxEnabled);
  if (security.runAsUser) userOrGroupId(`${field}.run_as_user`, security.runAsUser.value);
  if (security.runAsGroup) {
    if (!security.runAsUser) throw invalid(`${field}.run_as_group`, 'needs run_as_user');
    userOrGroupId(`${field}.run_as_group`, security.runAsGroup.value);
  }
}

function parseDns({ servers, searches, options }: NonNullable<PodSandboxConfig['dnsConfig']>) {
  const lines = (field: string, texts: readonly string[]) =>
    texts.map((text, index) => oneLine(`config.dns_config.${field}[${index}]`, text));
  return {
    servers: lines('servers', servers),
    searches: lines('searches', searches),
    options: lines('options', options),
  };
}

/** What would end a line of /etc/hosts or resolv.conf would also begin another one. */
function oneLine(field: string, text: string): string {
  if (/[\n\r]/.test(text)) throw invalid(field, 'has a line end');
  return noNul(field, text);
}

/** A mapping without a host port says that a port exists; nothing is to be done for it. */
function parsePort(field: string, mapping: CriPortMapping): PortMapping[] {
  const protocol = oneOf(`${field}.protocol`, mapping.protocol, PROTOCOLS);
  const containerPort = integer(`${field}.container_port`, mapping.containerPort, { min: 0, max: PORT_MAX });
  const hostPort = integer(`${field}.host_port`, mapping.hostPort, { min: 0, max: PORT_MAX });
  const { hostIp } = mapping;
  if (hostIp !== '' && isIP(hostIp) === 0) throw invalid(`${field}.host_ip`, `${JSON.stringify(hostIp)} is no address`);
  if (hostPort === 0) return [];
  if (containerPort === 0) throw invalid(`${field}.container_port`, 'is required with a host port');
  return [{ protocol, containerPort, hostPort, hostIp }];
}

function parseCgroupParent(path: string): string {
  const field = 'config.linux.cgroup_parent';
  if (path.split('/').includes('..')) throw invalid(field, `${JSON.stringify(path)} leads upwards`);
  return noNul(field, path);
}
