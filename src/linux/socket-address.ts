/** Socket addresses as the kernel reads them. */
import { SystemError } from './errno.ts';
import { room } from './libc.ts';

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
const UNIX_PATH_BYTES = 108;
const ENAMETOOLONG = 36;

/** struct sockaddr_un: u16 family, char path[108]. A longer path is ENAMETOOLONG: go through a directory's descriptor. */
export function unixAddress(path: string): Buffer {
  const bytes = Buffer.from(path);
  if (bytes.length >= UNIX_PATH_BYTES || bytes.includes(0)) throw new SystemError(ENAMETOOLONG, 'socket address', path);
  const address = room(2 + UNIX_PATH_BYTES);
  address.writeUInt16LE(AF_UNIX, 0);
  address.set(bytes, 2);
  return address;
}

/** struct sockaddr_in: u16 family, u16 port (big-endian), u32 address, 8 bytes of padding. */
export function loopback4(port: number): Buffer {
  const address = room(16);
  address.writeUInt16LE(AF_INET, 0);
  address.writeUInt16BE(port, 2);
  address.set([127, 0, 0, 1], 4);
  return address;
}

/** struct sockaddr_in6: u16 family, u16 port (big-endian), u32 flow, 16 bytes of address, u32 scope. */
export function loopback6(port: number): Buffer {
  const address = room(28);
  address.writeUInt16LE(AF_INET6, 0);
  address.writeUInt16BE(port, 2);
  address[23] = 1;
  return address;
}
