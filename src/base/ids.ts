import { randomBytes } from 'node:crypto';

/** A new sandbox or container ID: 256 random bits as 64 lower-case hex digits. */
export function newId(): string {
  return randomBytes(32).toString('hex');
}
