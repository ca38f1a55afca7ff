/**
 * proto/cri/v1 against the published API: both are parsed and compared descriptor by descriptor, in both directions.
 * The published file comes from its Go module, so this needs `go` and, the first time, a Go module proxy.
 */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import protobuf, {
  type Enum,
  type Field,
  type Namespace,
  type ReflectionObject,
  type Service,
  type Type,
} from 'protobufjs';

const MODULE = 'k8s.io/cri-api@v0.37.2';
const PACKAGE = 'runtime.v1';

function publishedFile(): string {
  try {
    const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/local/go/bin` };
    const options = { cwd: '/', env, encoding: 'utf8', stdio: 'pipe' } as const;
    const { Dir } = JSON.parse(execFileSync('go', ['mod', 'download', '-json', MODULE], options)) as { Dir: string };
    return join(Dir, 'pkg/apis/runtime/v1/api.proto');
  } catch (error) {
    throw new Error(
      `the published CRI can't be had: \`go mod download ${MODULE}\` failed (is Go installed?): ${error}`,
    );
  }
}

function parse(files: readonly string[], directory: string): Namespace {
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => (target.startsWith('/') ? target : join(directory, target));
  root.loadSync([...files], { keepCase: true });
  root.resolveAll();
  return root.lookup(PACKAGE) as Namespace;
}

const ours = () => parse(['cri/v1/runtime.proto', 'cri/v1/image.proto'], join(import.meta.dirname, '../../../proto'));

/** A contract as one line a fact, so that a difference reads as one. */
function facts(scope: Namespace): string[] {
  return scope.nestedArray.flatMap(itemFacts).sort();
}

function itemFacts(item: ReflectionObject): string[] {
  if (item instanceof protobuf.Type) return messageFacts(item);
  if (item instanceof protobuf.Enum) return enumFacts(item);
  if (item instanceof protobuf.Service) return serviceFacts(item);
  if (item instanceof protobuf.Namespace) return [`namespace ${item.fullName}`, ...facts(item)];
  return [`${item.constructor.name} ${item.fullName}`];
}

function messageFacts(type: Type): string[] {
  return [
    `message ${type.fullName} ${optionFacts(type)}`,
    ...reservedFacts(type),
    ...type.oneofsArray.map((oneof) => `oneof ${oneof.fullName} { ${oneof.oneof.toSorted().join(' ')} }`),
    ...type.fieldsArray.map(fieldFact),
    ...type.nestedArray.flatMap(itemFacts),
  ];
}

function fieldFact(field: Field): string {
  const label = field.repeated ? 'repeated ' : field.required ? 'required ' : '';
  const resolved = field.resolvedType
    ? `${field.resolvedType.constructor.name} ${field.resolvedType.fullName}`
    : field.type;
  const type = field instanceof protobuf.MapField ? `map<${field.keyType}, ${resolved}>` : resolved;
  return `field ${field.fullName} = ${field.id}: ${label}${type} ${optionFacts(field)}`;
}

function enumFacts(type: Enum): string[] {
  const values = Object.entries(type.values).map(([name, number]) => `value ${type.fullName}.${name} = ${number}`);
  const options = Object.entries(type.valuesOptions ?? {}).map(([name, value]) => {
    return `value ${type.fullName}.${name} ${JSON.stringify(value)}`;
  });
  return [`enum ${type.fullName} ${optionFacts(type)}`, ...reservedFacts(type), ...values, ...options];
}

function serviceFacts(service: Service): string[] {
  const methods = service.methodsArray.map((method) => {
    method.resolve();
    const request = `${method.requestStream ? 'stream ' : ''}${method.resolvedRequestType?.fullName}`;
    const response = `${method.responseStream ? 'stream ' : ''}${method.resolvedResponseType?.fullName}`;
    return `rpc ${method.fullName}(${request}) returns (${response}) ${optionFacts(method)}`;
  });
  return [`service ${service.fullName} ${optionFacts(service)}`, ...methods];
}

function reservedFacts(type: Type | Enum): string[] {
  return (type.reserved ?? []).map((range) => `reserved ${type.fullName} ${JSON.stringify(range)}`);
}

function optionFacts(item: ReflectionObject): string {
  return JSON.stringify(Object.fromEntries(Object.entries(item.options ?? {}).toSorted()));
}

const missingFrom = (some: readonly string[], all: readonly string[]) => all.filter((fact) => !some.includes(fact));

describe('CRI v1', () => {
  test('has every message, field, enum value and call of the published API, and nothing else', () => {
    const published = facts(parse([publishedFile()], '/'));
    const own = facts(ours());
    expect(published.length).toBeGreaterThan(800);
    expect(missingFrom(own, published)).toEqual([]);
    expect(missingFrom(published, own)).toEqual([]);
    expect(own).toHaveLength(published.length);
  }, 120_000);

  test('is compared down to names, numbers, types, labels, options and streams', () => {
    const before = new Set(facts(ours()));
    const mutations: ((scope: Namespace) => void)[] = [
      (scope) => scope.remove(scope.lookupType('VersionRequest')),
      (scope) => scope.lookupType('Mount').remove(scope.lookupType('Mount').get('readonly') as ReflectionObject),
      (scope) => Object.assign(scope.lookupType('Mount').get('readonly') as Field, { id: 99 }),
      (scope) => Object.assign(scope.lookupType('Mount').get('host_path') as Field, { type: 'bytes' }),
      (scope) => Object.assign(scope.lookupType('DNSConfig').get('servers') as Field, { repeated: false }),
      (scope) => Object.assign(scope.lookupType('AuthConfig').get('password') as Field, { options: {} }),
      (scope) => Object.assign(scope.lookupEnum('Signal').values, { SIGNAL_SIGKILL: 9 }),
      (scope) => Object.assign(scope.lookupService('RuntimeService').methods['Status'] ?? {}, { responseStream: true }),
      (scope) => scope.lookupType('Mount').add(new protobuf.OneOf('source', ['host_path', 'image'])),
      (scope) => scope.lookupType('PodIP').add(new protobuf.Field('port', 2, 'int32')),
    ];
    for (const mutate of mutations) {
      const scope = ours();
      mutate(scope);
      const after = new Set(facts(scope));
      expect(after.symmetricDifference(before).size).toBeGreaterThan(0);
    }
  });
});
