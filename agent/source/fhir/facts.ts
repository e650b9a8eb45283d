/**
 * What routing needs to know about one resource, read from what `outline.ts` makes of it; what is stored and sent is
 * the slice itself.
 */
import { createHash } from 'node:crypto';
import type { Category } from '../../model/category.ts';
import type { RecordFacts } from '../../model/record.ts';
import { readDemographics } from './demographics.ts';
import { eventTime } from './event-time.ts';
import { outlineOf } from './outline.ts';
import { idOf, type Naming } from './patient.ts';
import type { ScannedResource } from './scan.ts';
import { categoryOf } from './types.ts';
import { at, text } from './value.ts';

export interface FactsOptions {
  readonly naming: Naming;
  readonly categories: Readonly<Record<string, Category>>;
}

/** A resource's bytes, as the scanner cut them out: JSON it has checked, of a type it has seen. */
export function readFacts(page: Buffer, scanned: ScannedResource, { naming, categories }: FactsOptions): RecordFacts {
  const bytes = page.subarray(scanned.start, scanned.end);
  const { resource, whole, patientCount } = outlineOf(page, bytes, scanned);
  const type = text(resource['resourceType']) ?? '';
  const id = idOf(resource);
  const persons = naming.personsOf(type, resource, { whole, patientCount });
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
