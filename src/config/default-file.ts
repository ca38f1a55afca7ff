/** The commented default file that `cairnd config default` prints. It parses back into exactly the defaults. */
import { fileKey } from './layers.ts';
import type { Fields } from './schema.ts';
import { declaration } from './settings.ts';

export function renderDefaultFile(): string {
  const lines = [
    '# Cairn: the default configuration. Every line is what holds without it.',
    '# Drop-ins (*.toml in FILE.d, in order of name), CAIRN_ variables (CAIRN_NETWORK_CONF_DIR) and flags override it.',
    '',
  ];
  renderFields(declaration, '', lines);
  return `${lines.join('\n').trimEnd()}\n`;
}

function renderFields(fields: Fields, prefix: string, lines: string[]): void {
  for (const [key, node] of Object.entries(fields)) {
    if (node.type !== 'field') continue;
    lines.push(`# ${node.help}`, `${fileKey(key)} = ${renderValue(node.fallback)}`, '');
  }
  for (const [key, node] of Object.entries(fields)) {
    if (node.type === 'field') continue;
    const header = prefix === '' ? fileKey(key) : `${prefix}.${fileKey(key)}`;
    lines.push(`# ${node.help}`);
    const headers = node.type === 'section' ? [header] : Object.keys(node.fallback).map((name) => `${header}.${name}`);
    for (const one of headers) {
      lines.push(`[${one}]`);
      renderFields(node.fields, one, lines);
    }
  }
}

function renderValue(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(renderValue).join(', ')}]` : JSON.stringify(value);
}
