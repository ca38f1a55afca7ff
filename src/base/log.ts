/** Structured logs. A module takes a `Logger` and derives a child that carries its name and the IDs at hand. */
import { pino } from 'pino';

export type { Logger } from 'pino';

/** A logger that says nothing, for tests and tools. */
export const silentLogger = pino({ level: 'silent' });
