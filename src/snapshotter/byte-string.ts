/**
 * Names as bytes. A name in an archive or a directory is any bytes but NUL, not text; a `ByteString` holds one byte per
 * character (latin1), so that it can be compared, split and used as a key, and no name is damaged on its way.
 */
import type { PathLike } from '../linux/index.ts';

export type ByteString = string & { readonly __bytes: true };

export function byteString(bytes: Uint8Array): ByteString {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1') as ByteString;
}

/** The bytes of a text that the program itself wrote down. */
export function bytesOfText(text: string): ByteString {
  return isAscii(text) ? (text as ByteString) : byteString(Buffer.from(text));
}

/** For a system call. */
export function pathOf(bytes: ByteString): PathLike {
  return isAscii(bytes) ? bytes : Buffer.from(bytes, 'latin1');
}

/** For a message or a log: quoted, and no control character gets through. */
export function readable(bytes: ByteString): string {
  const text = Buffer.from(bytes, 'latin1').toString();
  return JSON.stringify(text.length <= READABLE_LENGTH_MAX ? text : `${text.slice(0, READABLE_LENGTH_MAX)}…`);
}

const READABLE_LENGTH_MAX = 256;

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    if (text.charCodeAt(index) > 127) return false;
  }
  return true;
}
