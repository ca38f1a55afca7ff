/**
 * Classes of block I/O and of Intel RDT (cache and memory bandwidth). CRI has no field for them; callers name them in
 * annotations, as containerd and CRI-O read them. A class that is not applied would be a promise broken in silence.
 */
import { CairnError } from '../base/errors.ts';

const KINDS = [
  { what: 'block I/O class', own: 'io.kubernetes.cri.blockio-class', pod: 'blockio.resources.beta.kubernetes.io/' },
  { what: 'RDT class', own: 'io.kubernetes.cri.rdt-class', pod: 'rdt.resources.beta.kubernetes.io/' },
] as const;

type Annotations = Readonly<Record<string, string>>;

/** FailedPrecondition when the container, or the pod for it, asks for a class. */
export function refuseResourceClasses(name: string, container: Annotations, pod: Annotations): void {
  for (const { what, own, pod: prefix } of KINDS) {
    for (const [annotations, key] of [
      [container, own],
      [pod, `${prefix}container.${name}`],
      [pod, `${prefix}pod`],
    ] as const) {
      const asked = annotations[key];
      if (!asked) continue;
      const message = `annotation ${key}: ${what} ${JSON.stringify(asked)}: Cairn has no such classes and can't apply it`;
      throw new CairnError('FailedPrecondition', message, { step: 'cri.request' });
    }
  }
}
