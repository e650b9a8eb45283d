/** What the FHIR server of the bench has: patients, and a lab result a second for as long as there are any. */
import { ownSystem } from '../peers/fhir/resources.ts';

export const patients = 500;

/** The number of a patient at the hospital, which the register knows. */
export function numberOf(patient: number): string {
  return String(7_000_000 + patient);
}

export function patientJson(patient: number, at: number): string {
  return JSON.stringify({
    resourceType: 'Patient',
    id: `p${patient}`,
    meta: { versionId: '1', lastUpdated: new Date(at).toISOString() },
    identifier: [{ system: ownSystem, value: numberOf(patient) }],
    name: [{ family: '架空', given: ['太郎'] }],
    birthDate: '1950-01-02',
  });
}

/** As JP Core's laboratory profile has it; about a kilobyte. */
export function observationJson(n: number, at: number): string {
  const time = new Date(at).toISOString();
  const code = `3B0${n % 100}0000002327101`;
  return JSON.stringify({
    resourceType: 'Observation',
    id: `o${n}`,
    meta: {
      versionId: '1',
      lastUpdated: time,
      profile: ['http://jpfhir.jp/fhir/core/StructureDefinition/JP_Observation_LabResult'],
    },
    identifier: [
      { system: 'http://jpfhir.jp/fhir/core/IdSystem/resourceInstance-identifier', value: `1311234567-${n}` },
    ],
    status: 'final',
    category: [
      {
        coding: [
          {
            system: 'http://jpfhir.jp/fhir/core/CodeSystem/JP_SimpleObservationCategory_CS',
            code: 'laboratory',
            display: 'Laboratory',
          },
        ],
      },
    ],
    code: {
      coding: [{ system: 'urn:oid:1.2.392.200119.4.504', code, display: '総コレステロール' }],
      text: '総コレステロール',
    },
    subject: { reference: `Patient/p${n % patients}` },
    encounter: { reference: `Encounter/e${n >> 3}` },
    effectiveDateTime: time,
    performer: [{ reference: 'Practitioner/lab-1' }],
    valueQuantity: { value: (n % 4000) / 10, unit: 'mg/dL', system: 'http://unitsofmeasure.org', code: 'mg/dL' },
    specimen: { reference: `Specimen/s${n >> 2}` },
    referenceRange: [{ low: { value: 150, unit: 'mg/dL' }, high: { value: 219, unit: 'mg/dL' } }],
  });
}
