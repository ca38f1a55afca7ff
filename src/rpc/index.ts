/**
 * gRPC without its boilerplate: a server and a client over a unix socket for the services that proto/ defines.
 *
 * A handler is a function from a decoded request to an answer (or, for a stream, to an async iterable of them). What it
 * throws becomes the status: a `CairnError` by its kind, anything else `Internal`. Its `signal` fires when the caller
 * cancelled, its deadline passed, or the daemon stops. A method without a handler answers `Unimplemented`.
 */
export { createRpcClient, type RpcCallOptions, type RpcClient, type RpcClientOptions } from './client.ts';
export type { CallContext, Handlers, Service } from './handlers.ts';
export { service } from './handlers.ts';
export type {
  AnyMethod,
  Method,
  RequestInputOf,
  RequestOf,
  ResponseInputOf,
  ResponseOf,
  ServiceDefinition,
} from './method.ts';
export { createGrpcServer, type GrpcServer, type GrpcServerOptions } from './server.ts';
export { errorOfStatus, type RpcStatus, statusOfError } from './status.ts';
