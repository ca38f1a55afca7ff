/** What a service is to the server: its definition and a function for each method that it has. */
import type { Logger } from '../base/log.ts';
import type { AnyMethod, RequestOf, ResponseInputOf, ServiceDefinition } from './method.ts';

export interface CallContext {
  /** Fires with a `CairnError` as its reason: Cancelled, DeadlineExceeded, or Unavailable when the daemon stops. */
  readonly signal: AbortSignal;
  readonly requestId: string;
  /** Carries the request's ID. */
  readonly log: Logger;
}

type Handler<M> = M extends { readonly responseStream: true }
  ? (request: RequestOf<M>, context: CallContext) => AsyncIterable<ResponseInputOf<M>>
  : (request: RequestOf<M>, context: CallContext) => ResponseInputOf<M> | Promise<ResponseInputOf<M>>;

export type Handlers<D extends ServiceDefinition> = { readonly [K in keyof D['methods']]?: Handler<D['methods'][K]> };

/** A service with its types taken away; `service` makes one and checks them. */
export interface Service {
  readonly name: string;
  readonly methods: readonly { readonly method: AnyMethod; readonly handler: ErasedHandler | undefined }[];
  /** What of a request may be logged: IDs and names, never credentials. */
  readonly subject: (request: object) => object;
}

export type ErasedHandler = (request: object, context: CallContext) => object | Promise<object> | AsyncIterable<object>;

export function service<D extends ServiceDefinition>(
  definition: D,
  handlers: Handlers<D>,
  subject: (request: object) => object,
): Service {
  const functions = handlers as Readonly<Record<string, ErasedHandler | undefined>>;
  const methods = Object.entries(definition.methods).map(([key, method]) => ({ method, handler: functions[key] }));
  return { name: definition.name, methods, subject };
}
