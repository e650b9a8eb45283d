/** The closed lists health speaks in. Nothing else can become a value in a heartbeat. */

export const stateWords = ['ok', 'attention', 'paused', 'stopped-by-fault', 'safe'] as const;
export type StateWord = (typeof stateWords)[number];

export const sourceKinds = ['hl7v2', 'ssmix2', 'fhir', 'dicom', 'claims', 'documents', 'masters'] as const;
export type SourceKind = (typeof sourceKinds)[number];
