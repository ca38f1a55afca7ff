/** What a registry says in answers: bounded bodies, and its own words in errors (distribution spec, "Error Codes"). */
import { CairnError, type ErrorKind } from '../base/errors.ts';
import { NoAnswer } from './outcome.ts';
import { parseRetryAfter } from './retry.ts';
import type { HttpResponse } from './transport.ts';

const ERROR_BODY_BYTES_MAX = 64 * 1024;
const WORDS_LENGTH_MAX = 600;
const WORDS_ENTRIES_MAX = 5;

/** The whole body, or undefined when it is longer than `sizeBytesMax`. */
export async function readBounded(response: HttpResponse, sizeBytesMax: number): Promise<Buffer | undefined> {
  if (Number(response.header('content-length') ?? 0) > sizeBytesMax) {
    response.discard();
    return undefined;
  }
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of response.body) {
    sizeBytes += chunk.byteLength;
    if (sizeBytes > sizeBytesMax) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, sizeBytes);
}

const KINDS: Readonly<Record<number, ErrorKind>> = {
  400: 'InvalidArgument',
  401: 'Unauthenticated',
  403: 'PermissionDenied',
  404: 'NotFound',
};

/** The failure in an answer that is not a success. 5xx, 408 and 429 count as no answer: later it may be different. */
export async function refusalOf(response: HttpResponse, asked: URL, step: string): Promise<CairnError | NoAnswer> {
  const words = await readWords(response);
  const where = response.url.origin === asked.origin ? '' : ` by ${response.url.origin}`;
  const message = `answered ${response.status}${where}${words === '' ? '' : `: ${words}`}`;
  const { status } = response;
  if (status >= 500 || status === 429 || status === 408) {
    const retryAfterMs = parseRetryAfter(response.header('retry-after'));
    return new NoAnswer(message, { retryable: status !== 501 && status !== 505, retryAfterMs });
  }
  return new CairnError(KINDS[status] ?? 'Unknown', message, { step });
}

async function readWords(response: HttpResponse): Promise<string> {
  let body: Buffer | undefined;
  try {
    body = await readBounded(response, ERROR_BODY_BYTES_MAX);
  } catch (error) {
    // The status is told without words when they do not arrive; cancellation is not swallowed.
    if (!(error instanceof NoAnswer)) throw error;
  }
  const text = body?.toString('utf8') ?? '';
  return tidy(wordsIn(text) ?? (/^\s*[<{[]/.test(text) ? '' : text));
}

/** `CODE: message` of the errors in a JSON answer; token servers say `error_description` or `details` instead. */
function wordsIn(text: string): string | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof parsed !== 'object' || parsed === null) return undefined;
  const fields = parsed as Record<string, unknown>;
  if (!Array.isArray(fields['errors']))
    return joined([fields['error'], fields['error_description'] ?? fields['details']]);
  const entries: unknown[] = fields['errors'].slice(0, WORDS_ENTRIES_MAX);
  const said = entries.map((entry) => {
    if (typeof entry !== 'object' || entry === null) return undefined;
    const { code, message } = entry as Record<string, unknown>;
    return joined([code, message]);
  });
  return said.filter(Boolean).join('; ');
}

function joined(parts: readonly unknown[]): string {
  return parts.filter((part) => typeof part === 'string' && part !== '').join(': ');
}

/** One line without control characters, of bounded length. */
function tidy(text: string): string {
  const line = text
    .replace(/\p{C}+/gu, ' ')
    .replace(/\s+/g, ' ')
    .trim();
  return line.length > WORDS_LENGTH_MAX ? `${line.slice(0, WORDS_LENGTH_MAX)}…` : line;
}
