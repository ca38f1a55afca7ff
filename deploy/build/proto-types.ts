/**
 * The TypeScript side of generate.ts.
 *
 * A message `Foo` has two types. `Foo` is what decoding returns: every field is there, 64-bit integers are Long, and an
 * enum is a plain number, because a peer may send one that the file does not know. `IFoo` is what encoding takes: every
 * field may be left out. An enum `Bar` is a frozen table of its numbers and their union.
 */
import protobuf, { type Enum, type Field, type Namespace, type ReflectionObject, type Type } from 'protobufjs';

const { MapField } = protobuf;

const SCALARS: Readonly<Record<string, { decoded: string; input: string }>> = {
  string: { decoded: 'string', input: 'string' },
  bytes: { decoded: 'Uint8Array', input: 'Uint8Array' },
  bool: { decoded: 'boolean', input: 'boolean' },
  int64: { decoded: 'Long', input: 'Long | number' },
  uint64: { decoded: 'Long', input: 'Long | number' },
  sint64: { decoded: 'Long', input: 'Long | number' },
  fixed64: { decoded: 'Long', input: 'Long | number' },
  sfixed64: { decoded: 'Long', input: 'Long | number' },
};
const NUMBER = { decoded: 'number', input: 'number' };

const isMessage = (item: ReflectionObject | null): item is Type => item instanceof protobuf.Type;
const isEnum = (item: ReflectionObject | null): item is Enum => item instanceof protobuf.Enum;

/** A nested item is written flat: `SecurityProfile_ProfileType`. */
function typeName(item: ReflectionObject): string {
  return isMessage(item.parent) ? `${typeName(item.parent)}_${item.name}` : item.name;
}

function valueTypes(field: Field): { decoded: string; input: string } {
  field.resolve();
  if (isMessage(field.resolvedType)) {
    const name = typeName(field.resolvedType);
    return { decoded: name, input: `I${name}` };
  }
  if (isEnum(field.resolvedType)) return { decoded: 'number', input: typeName(field.resolvedType) };
  return SCALARS[field.type] ?? NUMBER;
}

function fieldTypes(field: Field): { decoded: string; input: string } {
  const { decoded, input } = valueTypes(field);
  if (field instanceof MapField) {
    return { decoded: `{ [key: string]: ${decoded} }`, input: `Readonly<Record<string, ${input}>>` };
  }
  if (field.repeated) return { decoded: `${decoded}[]`, input: `readonly (${input})[]` };
  const absent = isMessage(field.resolvedType) || field.options?.['proto3_optional'] === true;
  return { decoded: absent ? `${decoded} | null` : decoded, input };
}

function renderMessage(type: Type): string {
  const name = typeName(type);
  const decoded = type.fieldsArray.map((field) => `  ${field.name}: ${fieldTypes(field).decoded};`);
  const input = type.fieldsArray.map(
    (field) => `  readonly ${field.name}?: ${fieldTypes(field).input} | null | undefined;`,
  );
  return [
    `export interface ${name} {`,
    ...decoded,
    '}',
    `export interface I${name} {`,
    ...input,
    '}',
    isMessage(type.parent) ? '' : `export declare const ${name}: Codec<${name}, I${name}>;`,
    ...type.nestedArray.map(renderItem),
  ]
    .filter(Boolean)
    .join('\n');
}

function renderEnum(item: Enum): string {
  const name = typeName(item);
  const members = Object.entries(item.values).map(([key, value]) => `  readonly ${key}: ${value};`);
  const type = `export type ${name} = ${Object.values(item.values).join(' | ')};`;
  return isMessage(item.parent) ? type : `export declare const ${name}: {\n${members.join('\n')}\n};\n${type}`;
}

function renderItem(item: ReflectionObject): string {
  if (isMessage(item)) return renderMessage(item);
  if (isEnum(item)) return renderEnum(item);
  return '';
}

interface MethodRow {
  readonly key: string;
  readonly name: string;
  readonly request: string;
  readonly response: string;
  readonly responseStream: boolean;
}

function services(contents: Namespace): { readonly name: string; readonly methods: MethodRow[] }[] {
  return contents.nestedArray
    .filter((item) => item instanceof protobuf.Service)
    .map((service) => ({ name: service.name, methods: service.methodsArray.map(methodRow) }));
}

function methodRow(method: protobuf.Method): MethodRow {
  method.resolve();
  if (method.requestStream) throw new Error(`${method.fullName}: streams of requests are not supported`);
  const { resolvedRequestType: request, resolvedResponseType: response } = method;
  if (!request || !response) throw new Error(`${method.fullName}: a type is unknown`);
  return {
    key: method.name.charAt(0).toLowerCase() + method.name.slice(1),
    name: method.name,
    request: typeName(request),
    response: typeName(response),
    responseStream: method.responseStream === true,
  };
}

/** The `.d.ts` of a module. */
export function renderTypes(packageName: string, contents: Namespace): string {
  const tables = services(contents).map(({ name, methods }) => {
    const rows = methods.map(({ key, request, response, responseStream }) => {
      return `    readonly ${key}: Method<${request}, I${request}, ${response}, I${response}, ${responseStream}>;`;
    });
    const type = `{\n  readonly name: '${packageName}.${name}';\n  readonly methods: {\n${rows.join('\n')}\n  };\n}`;
    return `export declare const ${name}: ${type};`;
  });
  return [
    `// Made from proto/ (package ${packageName}) by deploy/build/generate.ts.`,
    "import type Long from 'long';",
    "import type { Reader, Writer } from 'protobufjs';",
    "import type { Method } from '../rpc/index.ts';",
    '',
    'interface Codec<Message, Input> {',
    '  encode(message: Input, writer?: Writer): Writer;',
    '  decode(bytes: Uint8Array | Reader): Message;',
    '}',
    '',
    ...contents.nestedArray.map(renderItem).filter(Boolean),
    ...tables,
    '',
  ].join('\n');
}

/** The tables of methods that follow the codecs in the `.js` of a module. */
export function renderMethods(packageName: string, contents: Namespace): string {
  const helper = `const $method = (service, name, request, response, responseStream) => ({
  name,
  path: \`/\${service}/\${name}\`,
  requestStream: false,
  responseStream,
  encodeRequest: (message) => request.encode(message).finish(),
  decodeRequest: (bytes) => request.decode(bytes),
  encodeResponse: (message) => response.encode(message).finish(),
  decodeResponse: (bytes) => response.decode(bytes),
});`;
  const tables = services(contents).map(({ name, methods }) => {
    const service = JSON.stringify(`${packageName}.${name}`);
    const rows = methods.map(
      (row) =>
        `    ${row.key}: $method(${service}, "${row.name}", ${row.request}, ${row.response}, ${row.responseStream}),`,
    );
    return `export const ${name} = {\n  name: ${service},\n  methods: {\n${rows.join('\n')}\n  },\n};`;
  });
  return `${[helper, ...tables].join('\n')}\n`;
}
