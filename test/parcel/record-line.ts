import type { ParcelEntry } from '../../agent/parcel/index.ts';

type RecordLine = ParcelEntry['line'];

export function recordIdOf(index: number): string {
  return index.toString(16).padStart(32, '0');
}

/** The line of a lab result of one invented patient, about a payload of which only size and digest matter. */
export function recordLineOf(
  index: number,
  payload: Pick<RecordLine, 'bytes' | 'sha256'>,
  changes: Partial<RecordLine> = {},
): RecordLine {
  return {
    recordId: recordIdOf(index),
    facility: '1312345670',
    patientId: '0000012345',
    patientIdNormalized: '12345',
    subjectId: 's-1',
    basis: 'article-57',
    notice: '2026-04',
    category: 'lab-result',
    nativeKey: `HIS|${index}`,
    op: 'INS',
    source: 'ehr-feed',
    route: 'mllp',
    mediaType: 'x-application/hl7-v2+er7',
    ...payload,
    ...changes,
  };
}
