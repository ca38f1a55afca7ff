export { type CallOptions, RpcClient } from './client.ts';
export type {
  AnyMethod,
  Method,
  RequestInputOf,
  RequestOf,
  ResponseInputOf,
  ResponseOf,
  ServiceDefinition,
} from './method.ts';
