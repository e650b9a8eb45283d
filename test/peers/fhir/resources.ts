/**
 * Invented resources, written as Japanese systems write them: pretty printed or compact, decimals with trailing zeros,
 * escapes, characters outside the basic plane. Each is one text; none would survive being parsed and written again.
 */
import type { StoredResource } from './server.ts';

/** Patient numbers of the hospital 1312345670 (JP Core). */
export const ownSystem = 'urn:oid:1.2.392.100495.20.3.51.11312345670';

const representation = 'http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation';

export interface PatientChoice {
  readonly id: string;
  /** The hospital's number; without it the Patient has none of its own. */
  readonly number?: string;
  readonly changedAt?: number;
  /** Members to add, as JSON text beginning with a comma. */
  readonly more?: string;
}

const someTime = Date.parse('2026-11-20T10:00:00+09:00');

export function patient({ id, number, changedAt = someTime, more = '' }: PatientChoice): StoredResource {
  const identifier =
    number === undefined ? '' : `\n  "identifier": [ { "system": "${ownSystem}", "value": "${number}" } ],`;
  const text = `{
  "resourceType" : "Patient",
  "id": "${id}",
  "meta": { "versionId": "1", "lastUpdated": "${new Date(changedAt).toISOString()}" },${identifier}
  "name": [
    { "extension": [ { "url": "${representation}", "valueCode": "IDE" } ], "family": "\u{20bb7}\u91ce", "given": [ "\\u592a\\u90ce" ] },
    { "extension": [ { "url": "${representation}", "valueCode": "SYL" } ], "family": "ヨシノ", "given": [ "タロウ" ] }
  ],
  "gender": "male",
  "birthDate": "1950-01-02",
  "address": [ { "text": "東京都架空区架空町1-2-3", "postalCode": "100-0000" } ]${more}
}`;
  return { type: 'Patient', id, bytes: Buffer.from(text), changedAt, patient: id };
}

export interface ObservationChoice {
  readonly id: string;
  readonly patient?: string;
  readonly changedAt?: number;
  readonly day?: string;
  /** Code of the category; default `laboratory`. */
  readonly category?: string;
  /** Stands for the subject, as JSON text. */
  readonly subject?: string;
  readonly more?: string;
}

/** A lab value whose digits a JSON parser would change. */
export function observation(choice: ObservationChoice): StoredResource {
  const { id, patient = 'p1', changedAt = someTime, day = '2026-11-19', category = 'laboratory', more = '' } = choice;
  const subject = choice.subject ?? `{"reference":"Patient/${patient}"}`;
  const text = `{"resourceType":"Observation","id":"${id}","meta":{"versionId":"7","lastUpdated":"${new Date(changedAt).toISOString()}"},
 "status":"final", "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"${category}"}]}],
 "code":{"text":"\\u7dcf\\u30b3\\u30ec\\u30b9\\u30c6\\u30ed\\u30fc\\u30eb \u{20bb7}"},"subject":${subject},"effectiveDateTime":"${day}T09:00:00+09:00",
 "valueQuantity":{"value":1.50,"unit":"mg\\/dL"},"referenceRange":[{"low":{"value":0.010},"high":{"value":1.0E2}}]${more}}`;
  return { type: 'Observation', id, bytes: Buffer.from(text), changedAt, patient, day };
}

export function condition({
  id,
  patient = 'p1',
  changedAt = someTime,
}: {
  id: string;
  patient?: string;
  changedAt?: number;
}): StoredResource {
  const text = `{"resourceType":"Condition","id":"${id}","subject":{"reference":"Patient/${patient}"},"code":{"text":"高血圧症"},"recordedDate":"2026-11"}`;
  return { type: 'Condition', id, bytes: Buffer.from(text), changedAt, patient, day: '2026-11-01' };
}
