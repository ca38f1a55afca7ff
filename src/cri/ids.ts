/** Finding what a request names by its ID or the beginning of it. */
import { CairnError, isCairnError } from '../base/errors.ts';
import { required } from './fields.ts';

/** Ours have 64. What is longer is not repeated in answers and logs. */
const ID_LENGTH_MAX = 128;

interface Finder<T> {
  get(idOrPrefix: string): T;
}

/** NotFound, or InvalidArgument when it is ambiguous or empty. */
export function find<T>(service: Finder<T>, field: string, id: string): T {
  if (id.length > ID_LENGTH_MAX) {
    throw new CairnError('NotFound', `${field}: nothing has an ID of ${id.length} characters`, { step: 'cri.request' });
  }
  return service.get(required(field, id));
}

/** As `find`, but undefined when there is none: for what succeeds when there is nothing to do. */
export function tryFind<T>(service: Finder<T>, field: string, id: string): T | undefined {
  try {
    return find(service, field, id);
  } catch (error) {
    if (isCairnError(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** The full ID that a filter means. A prefix that fits several objects, as one that fits none, selects nothing. */
export function filterId(service: Finder<{ readonly id: string }>, prefix: string): string | undefined {
  try {
    return service.get(prefix).id;
  } catch (error) {
    if (isCairnError(error, 'NotFound') || isCairnError(error, 'InvalidArgument')) return undefined;
    throw error;
  }
}
