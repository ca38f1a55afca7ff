/** Ranges of user and group IDs: what an ID inside a user namespace is outside. */

/** `length` IDs from `containerId` on, inside, are those from `hostId` on, outside. */
export interface IdMapping {
  readonly containerId: number;
  readonly hostId: number;
  readonly length: number;
}

export interface IdMappings {
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

/** The host's number for an ID inside; undefined when it is not mapped. */
export function hostId(mappings: readonly IdMapping[], id: number): number | undefined {
  const range = mappings.find(({ containerId, length }) => id >= containerId && id < containerId + length);
  return range && range.hostId + id - range.containerId;
}

/** The lines of `/proc/PID/uid_map`. */
export function mapFile(mappings: readonly IdMapping[]): string {
  return mappings.map((range) => `${range.containerId} ${range.hostId} ${range.length}\n`).join('');
}
