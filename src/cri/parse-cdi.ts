/** CDI devices of a container: the field of CRI, and the annotations that device plugins used before there was one. */
import { isQualifiedCdiName } from '../containers/index.ts';
import type { CDIDevice } from '../generated/cri.js';
import { invalid } from './fields.ts';

const ANNOTATION_PREFIX = 'cdi.k8s.io/';
const DEVICES_MAX = 1024;

/** Each once, those of the field first. Which of them exist is the registry's affair. */
export function parseCdiDevices(
  devices: readonly CDIDevice[],
  annotations: Readonly<Record<string, string>>,
): readonly string[] {
  const names = new Set(devices.map(({ name }, index) => checked(`config.CDI_devices[${index}].name`, name)));
  // In the order of their keys: a map of the wire has none.
  for (const [key, value] of Object.entries(annotations).toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (!key.startsWith(ANNOTATION_PREFIX)) continue;
    for (const name of value.split(',')) names.add(checked(`config.annotations[${key}]`, name));
  }
  if (names.size > DEVICES_MAX) throw invalid('config.CDI_devices', `more than ${DEVICES_MAX} devices`);
  return [...names];
}

function checked(field: string, name: string): string {
  if (isQualifiedCdiName(name)) return name;
  throw invalid(field, `${JSON.stringify(name)} is not the name of a CDI device (vendor.com/class=name)`);
}
