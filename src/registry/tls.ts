/** TLS for one registry host: who is trusted, and as whom we come. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls';
import { CairnError, messageOf } from '../base/errors.ts';

export interface TlsSettings {
  /** PEM, trusted besides the system's certificates. */
  readonly authorities: readonly string[];
  /** PEM, for mutual TLS. */
  readonly clients: readonly { readonly certificate: string; readonly key: string }[];
  readonly skipVerify: boolean;
  /** The file that asked for all this, for messages. */
  readonly source: string;
}

export const DEFAULT_TLS: TlsSettings = { authorities: [], clients: [], skipVerify: false, source: 'system' };

/** Equal for settings that mean the same. */
export function tlsKey(tls: TlsSettings): string {
  if (tls.authorities.length === 0 && tls.clients.length === 0) return tls.skipVerify ? 'skip' : 'system';
  return createHash('sha256')
    .update(JSON.stringify([tls.authorities, tls.clients, tls.skipVerify]))
    .digest('hex');
}

/** Without the client certificates: for a host that they were not configured for. */
export function withoutClients(tls: TlsSettings): TlsSettings {
  return tls.clients.length === 0 ? tls : { ...tls, clients: [] };
}

/**
 * The context for `settings`. The system's store counts, as for every other program of the node: who ran
 * update-ca-certificates expects it to. Node's own list stands in where there is none. FailedPrecondition when a PEM
 * file is none.
 */
export async function makeSecureContext(settings: TlsSettings, environment: NodeJS.ProcessEnv): Promise<SecureContext> {
  const { authorities, clients, source } = settings;
  const trusted = await trustedAuthorities(environment);
  try {
    return createSecureContext({
      ca: [...trusted, ...authorities],
      ...(clients.length > 0 && {
        cert: clients.map((pair) => pair.certificate),
        key: clients.map((pair) => pair.key),
      }),
    });
  } catch (error) {
    throw new CairnError('FailedPrecondition', `${source}: the certificates can't be used: ${messageOf(error)}`, {
      step: 'registry.tls',
      cause: error,
    });
  }
}

/** Where distributions keep the bundle of all that the system trusts. */
const SYSTEM_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
];

/** Files, because `tls.getCACertificates('system')` blocks the event loop for 40 ms. */
async function trustedAuthorities(environment: NodeJS.ProcessEnv): Promise<readonly string[]> {
  const chosen = environment['SSL_CERT_FILE'];
  const system = await firstReadable(chosen ? [chosen] : SYSTEM_BUNDLES);
  const extraPath = environment['NODE_EXTRA_CA_CERTS'];
  const extra = extraPath ? await firstReadable([extraPath]) : undefined;
  return [...(system === undefined ? rootCertificates : [system]), ...(extra === undefined ? [] : [extra])];
}

async function firstReadable(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch(() => undefined);
    if (text?.includes('BEGIN')) return text;
  }
  return undefined;
}
