/** The daemon's log: JSON, or readable text on a terminal, always on standard error. */
import { destination, pino } from 'pino';
import type { Logger } from '../base/log.ts';

const STDERR = 2;

export interface LogOptions {
  readonly level: string;
  readonly format: 'auto' | 'json' | 'text';
}

export async function createLogger(options: LogOptions): Promise<Logger> {
  const asText = options.format === 'text' || (options.format === 'auto' && process.stderr.isTTY);
  // Written synchronously: the last line before a crash is the one that matters.
  const stream = asText ? await textStream() : destination({ fd: STDERR, sync: true });
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    stream,
  );
}

async function textStream() {
  const { default: pretty } = await import('pino-pretty');
  return pretty({ destination: STDERR, sync: true, colorize: process.stderr.isTTY, translateTime: 'SYS:HH:MM:ss.l' });
}
