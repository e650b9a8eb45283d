/** When what a resource tells of has happened. */
import { at, type JsonObject, text } from './value.ts';

/** The clinical date first, whichever of FHIR R4's forms a type has it in; the server's own last. */
export const eventPaths: readonly (readonly [string, ...string[]])[] = [
  ['effectiveDateTime'],
  ['effectiveInstant'],
  ['effectivePeriod', 'start'],
  ['performedDateTime'],
  ['performedPeriod', 'start'],
  ['occurrenceDateTime'],
  ['occurrencePeriod', 'start'],
  ['onsetDateTime'],
  ['onsetPeriod', 'start'],
  ['whenHandedOver'],
  ['whenPrepared'],
  ['authoredOn'],
  ['recordedDate'],
  ['period', 'start'],
  ['started'],
  ['date'],
  ['issued'],
  ['created'],
  ['meta', 'lastUpdated'],
];

/** FHIR R4 `dateTime`: a year, a month, a day, or a time with its offset. */
const dateTime = /^\d{4}(-\d\d(-\d\d(T\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d))?)?)?$/;

export function eventTime(resource: JsonObject): string | undefined {
  for (const path of eventPaths) {
    const found = text(at(resource, ...path));
    if (found !== undefined && dateTime.test(found)) return found;
  }
  return undefined;
}
