/** The registry client: wires hosts, credentials, transport, manifests and blobs together. */
import { CairnError } from '../base/errors.ts';
import type { RegistryClient, RegistryClientOptions } from './index.ts';

export function createRegistryClient(options: RegistryClientOptions): RegistryClient {
  throw new CairnError('Unimplemented', `registry client: ${options.userAgent}`);
}
