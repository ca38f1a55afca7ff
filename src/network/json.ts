/** JSON of others, before it is checked. */
export type JsonRecord = Readonly<Record<string, unknown>>;

export function isRecord(unsafe: unknown): unsafe is JsonRecord {
  return typeof unsafe === 'object' && unsafe !== null && !Array.isArray(unsafe);
}

/** The text in `record[key]`; undefined when there is none or it is something else. */
export function textIn(record: JsonRecord, key: string): string | undefined {
  const value = record[key];
  return typeof value === 'string' ? value : undefined;
}

/** The objects in the list `record[key]`; empty when it is none. */
export function recordsIn(record: JsonRecord, key: string): JsonRecord[] {
  const value = record[key];
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

/** The texts in the list `record[key]`; empty when it is none. */
export function textsIn(record: JsonRecord, key: string): string[] {
  const value = record[key];
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === 'string') : [];
}
