/**
 * What routing needs to know about one resource. The one place where a resource is parsed: one at a time, only to be
 * read; what is stored and sent is the slice itself.
 */
import { createHash } from 'node:crypto';
import type { Category } from '../../model/category.ts';
import type { RecordFacts } from '../../model/record.ts';
import { readDemographics } from './demographics.ts';
import { idOf, type Naming } from './patient.ts';
import { categoryOf } from './types.ts';
import { at, type JsonObject, text } from './value.ts';

export interface FactsOptions {
  readonly naming: Naming;
  readonly categories: Readonly<Record<string, Category>>;
}

/** A resource's bytes, as the scanner cut them out: JSON it has checked, of a type it has seen. */
export function readFacts(bytes: Buffer, { naming, categories }: FactsOptions): RecordFacts {
  const resource = JSON.parse(bytes.toString()) as JsonObject;
  const type = text(resource['resourceType']) ?? '';
  const id = idOf(resource);
  const persons = naming.personsOf(type, resource);
  const eventAt = eventTime(resource);
  const demographics = type === 'Patient' && persons.patients.length > 0 ? readDemographics(resource) : undefined;
  // Without an id there is no telling versions apart: each content is a record of its own.
  const digest = () => createHash('sha256').update(bytes).digest('hex');
  const quarantine = persons.quarantine ?? (id === undefined ? 'BAD_NAME' : undefined);
  return {
    nativeKey: `${type}/${id ?? digest()}`,
    versionKey: text(at(resource, 'meta', 'versionId')) ?? digest(),
    op: 'INS',
    category: categoryOf(type, resource, categories),
    lane: 'text',
    patients: persons.patients,
    ...(persons.merge && { merge: persons.merge }),
    ...(persons.aliases && { aliases: persons.aliases }),
    ...(eventAt !== undefined && { eventAt }),
    route: 'fhir-search',
    mediaType: 'application/fhir+json',
    charset: 'utf-8',
    ...(demographics && { demographics }),
    ...(quarantine && { quarantine }),
  };
}

/** The clinical date first, whichever of FHIR R4's forms a type has it in; the server's own last. */
const eventPaths: readonly (readonly string[])[] = [
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

function eventTime(resource: JsonObject): string | undefined {
  for (const path of eventPaths) {
    const found = text(at(resource, ...path));
    if (found !== undefined && dateTime.test(found)) return found;
  }
  return undefined;
}
