/** The runtime as a whole: Version, Status, RuntimeConfig, UpdateRuntimeConfig. */
import { isIP } from 'node:net';
import { CgroupDriver, type RuntimeService } from '../generated/cri.js';
import type { Handlers } from '../rpc/index.ts';
import { invalid } from './fields.ts';
import type { CriContext } from './index.ts';
import { json } from './render.ts';

/** The version of the kubelet's API that these answers have the form of. */
const KUBELET_API_VERSION = '0.1.0';

export function nodeHandlers(context: CriContext): Handlers<typeof RuntimeService> {
  const { network, version, runtimeHandlers, defaultRuntime, cgroupDriver, config } = context;
  return {
    version: () => ({
      version: KUBELET_API_VERSION,
      runtimeName: 'cairn',
      runtimeVersion: version,
      runtimeApiVersion: 'v1',
    }),

    status({ verbose }) {
      const { ready, reason, message } = network.status();
      const runtimeReady = { type: 'RuntimeReady', status: true, reason: '', message: '' };
      const networkReady = { type: 'NetworkReady', status: ready, reason, message };
      const handlers = runtimeHandlers.map(({ name, features }) => ({ name, features }));
      const defaults = handlers.filter(({ name }) => name === defaultRuntime).map((one) => ({ ...one, name: '' }));
      return {
        status: { conditions: [runtimeReady, networkReady] },
        runtimeHandlers: [...defaults, ...handlers],
        features: { supplementalGroupsPolicy: true, userNamespacesHostNetwork: true, mountOptions: true },
        info: verbose ? { config: json(config), network: json(network.status()) } : {},
      };
    },

    runtimeConfig: () => ({
      linux: { cgroupDriver: cgroupDriver === 'systemd' ? CgroupDriver.SYSTEMD : CgroupDriver.CGROUPFS },
    }),

    async updateRuntimeConfig({ runtimeConfig }) {
      const given = runtimeConfig?.networkConfig?.podCidr ?? '';
      const cidrs = given.split(',').map((cidr) => cidr.trim());
      const field = 'runtime_config.network_config.pod_cidr';
      for (const cidr of cidrs)
        if (given !== '' && !isCidr(cidr)) throw invalid(field, `${JSON.stringify(cidr)} is no CIDR`);
      if (given !== '') await network.setPodCidrs(cidrs);
      return {};
    },
  };
}

function isCidr(text: string): boolean {
  const [address = '', bits, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || bits === undefined || rest.length > 0 || !/^\d{1,3}$/.test(bits)) return false;
  return Number(bits) <= (family === 4 ? 32 : 128);
}
