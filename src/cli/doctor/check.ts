/**
 * One line of `cairn doctor`: something about the host that Cairn needs or that its user should know.
 *
 * `failed`: pods will not run, or not all of them. `warning`: they run, but something is missing, weaker or slower.
 */
export type CheckStatus = 'ok' | 'warning' | 'failed';

export interface Check {
  /** `group.subject`, stable, for scripts. */
  readonly id: string;
  readonly status: CheckStatus;
  /** What was found. */
  readonly summary: string;
  /** Why it matters. */
  readonly why: string;
  /** What to do, as a command where that is possible; empty when there is nothing to do. */
  readonly fix: string;
}

/** A subject of checks: its name and why it matters are the same whatever is found. */
export interface Subject {
  ok(summary: string): Check;
  warning(summary: string, fix: string): Check;
  failed(summary: string, fix: string): Check;
}

export function subject(id: string, why: string): Subject {
  const found = (status: CheckStatus, summary: string, fix: string): Check => ({ id, status, summary, why, fix });
  return {
    ok: (summary) => found('ok', summary, ''),
    warning: (summary, fix) => found('warning', summary, fix),
    failed: (summary, fix) => found('failed', summary, fix),
  };
}
