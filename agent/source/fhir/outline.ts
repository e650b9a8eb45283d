/**
 * A resource as far as its facts need it: a few of its members, parsed, instead of all of them. Half of a lab result is
 * texts and units that nobody here reads. This is the one place where a resource is parsed, only to be read.
 *
 * A Patient is read whole. So is whatever holds a backslash: a name can be written with escapes, and what is looked for
 * in the bytes below would not be found.
 */
import type { ScannedResource } from './scan.ts';
import type { JsonObject } from './value.ts';

export interface Outline {
  readonly resource: JsonObject;
  /** All of it. */
  readonly whole: () => JsonObject;
  /** How often it may name a Patient by FHIR id: once is the subject alone. Infinite when it was not counted. */
  readonly patientCount: number;
}

const backslash = 0x5c;

/** In every reference to a Patient, relative or absolute. */
const patientPath = Buffer.from('Patient/');

export function outlineOf(page: Buffer, bytes: Buffer, { resourceType, members }: ScannedResource): Outline {
  const whole = () => JSON.parse(bytes.toString()) as JsonObject;
  if (resourceType === 'Patient' || bytes.includes(backslash)) {
    const resource = whole();
    return { resource, whole: () => resource, patientCount: Number.POSITIVE_INFINITY };
  }
  let text = '';
  for (const { name, start, end } of members) {
    text += `${text === '' ? '{' : ','}"${name}":${page.toString('utf8', start, end)}`;
  }
  return { resource: JSON.parse(`${text}}`) as JsonObject, whole, patientCount: countOf(bytes) };
}

/** None, one, or two for more. */
function countOf(bytes: Buffer): number {
  const first = bytes.indexOf(patientPath);
  if (first < 0) return 0;
  return bytes.includes(patientPath, first + patientPath.length) ? 2 : 1;
}
