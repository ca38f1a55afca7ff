/** Finding what a request names by its ID or the beginning of it. */
import { isCairnError } from '../base/errors.ts';
import { required } from './fields.ts';

interface Finder<T> {
  get(idOrPrefix: string): T;
}

/** NotFound, or InvalidArgument when it is ambiguous or empty. */
export function find<T>(service: Finder<T>, field: string, id: string): T {
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
