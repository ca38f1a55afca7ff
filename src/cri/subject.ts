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

/** Beyond that it is no name, and would only fill the log. */
const LENGTH_MAX = 256;

export function subject(request: object): object {
  const { podSandboxId, containerId, image, config } = request as Subjects;
  const { name, namespace, attempt } = config?.metadata ?? {};
  return {
    ...(podSandboxId && { pod: cut(podSandboxId) }),
    ...(containerId && { container: cut(containerId) }),
    ...(typeof image?.image === 'string' && { image: cut(image.image) }),
    ...(name && { name: cut(name), namespace: cut(namespace ?? ''), attempt }),
  };
}

function cut(text: string): string {
  return text.length > LENGTH_MAX ? `${text.slice(0, LENGTH_MAX)}…` : text;
}
