/** What a request is about, for the log: IDs and names. Nothing else of a request is logged; some of it is secret. */
interface Subjects {
  readonly podSandboxId?: string;
  readonly containerId?: string;
  readonly image?: { readonly image: string } | null;
  readonly config?: { readonly metadata?: Metadata | null } | null;
}

interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly attempt: number;
}

export function subject(request: object): object {
  const { podSandboxId, containerId, image, config } = request as Subjects;
  const { name, namespace, attempt } = config?.metadata ?? {};
  return {
    ...(podSandboxId && { pod: podSandboxId }),
    ...(containerId && { container: containerId }),
    ...(typeof image?.image === 'string' && { image: image.image }),
    ...(name && { name, namespace, attempt }),
  };
}
