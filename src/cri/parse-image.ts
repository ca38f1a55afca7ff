/** Image names and credentials of a request. */
import type { AuthConfig, ImageSpec } from '../generated/cri.js';
import type { Credentials } from '../registry/index.ts';
import { invalid, required } from './fields.ts';

export function imageName(image: ImageSpec | null): string {
  return required('image.image', required('image', image).image);
}

/** Undefined when the caller gave none. No message here may repeat what it read. */
export function parseCredentials(auth: AuthConfig | null): Credentials | undefined {
  if (!auth) return undefined;
  const fromAuth = auth.username === '' && auth.auth !== '' ? decodeBasic(auth.auth) : undefined;
  const given: Record<keyof Credentials, string> = {
    username: fromAuth?.username ?? auth.username,
    password: fromAuth?.password ?? auth.password,
    identityToken: auth.identityToken,
    registryToken: auth.registryToken,
    serverAddress: auth.serverAddress,
  };
  const { serverAddress: _, ...secrets } = given;
  if (Object.values(secrets).every((value) => value === '')) return undefined;
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== ''));
}

/** `username:password` in base64. Old Docker clients filled the password up with NULs. */
function decodeBasic(auth: string): { username: string; password: string } {
  const text = Buffer.from(auth.trim(), 'base64').toString('utf8');
  const colon = text.indexOf(':');
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(auth.trim()) || colon < 1) {
    throw invalid('auth.auth', 'is not username:password in base64');
  }
  return { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, '') };
}
