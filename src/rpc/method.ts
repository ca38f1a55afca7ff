/** One method of a gRPC service, as deploy/build/generate.ts derives it from proto/. */
export interface Method<Request, RequestInput, Response, ResponseInput, ResponseStream extends boolean = boolean> {
  /** `RunPodSandbox`. */
  readonly name: string;
  /** `/runtime.v1.RuntimeService/RunPodSandbox`. */
  readonly path: string;
  readonly requestStream: false;
  readonly responseStream: ResponseStream;
  encodeRequest(message: RequestInput): Buffer;
  decodeRequest(bytes: Buffer): Request;
  encodeResponse(message: ResponseInput): Buffer;
  decodeResponse(bytes: Buffer): Response;
}

// `never` where the parameter is an input: any method fits.
export type AnyMethod = Method<unknown, never, unknown, never>;

export type RequestOf<M> = M extends { decodeRequest(bytes: Buffer): infer R } ? R : never;
export type RequestInputOf<M> = M extends { encodeRequest(message: infer R): Buffer } ? R : never;
export type ResponseOf<M> = M extends { decodeResponse(bytes: Buffer): infer R } ? R : never;
export type ResponseInputOf<M> = M extends { encodeResponse(message: infer R): Buffer } ? R : never;

/** A service: its methods by the name of the function that handles one (`runPodSandbox`). */
export interface ServiceDefinition {
  /** `runtime.v1.RuntimeService`. */
  readonly name: string;
  readonly methods: Readonly<Record<string, AnyMethod>>;
}
