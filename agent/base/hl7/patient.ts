/**
 * Who a message is about: PID-3 and MRG-1, repetitions of CX (HL7 v2.5.1 section 2.A.14):
 *
 * ```
 * id ^ check digit ^ scheme ^ assigning authority (namespace & universal id & type) ^ identifier type ^ …
 * ```
 */
import { normalizePatientId, type PatientIdRule } from '../patient-id.ts';
import type { PatientName } from '../../model/record.ts';
import { clean, type Delimiters } from './text.ts';

/**
 * Types under which an identifier names a patient of the hospital; HL7 table 0203. Most Japanese systems send PI or
 * nothing. Insurance, passport, driver's licence and national numbers name the person elsewhere and are left alone.
 */
const patientTypes = new Set(['', 'PI', 'MR', 'PT', 'PN']);

/** More repetitions than any system sends; the rest is not read. */
const repetitionsMax = 32;

/** How a sender's identifiers are read: whose numbers are our own, and how those are normalised. */
export interface PatientIdentityRule extends PatientIdRule {
  /** Assigning authorities (CX.4) that mean this facility's own numbering. */
  readonly ownAuthorities: readonly string[];
}

/**
 * - `named`: the patient and, as `others`, the same person's numbers under authorities that are explicitly not ours.
 * - `none`: no usable number. `many`: two different numbers that both claim to be this facility's own; choosing one
 *   would be a guess about whose record it is.
 */
export type Identified =
  | { readonly found: 'named'; readonly patient: PatientName; readonly others: readonly PatientName[] }
  | { readonly found: 'none' }
  | { readonly found: 'many' };

interface Identifier extends PatientName {
  readonly type: string;
}

/**
 * The rule: among repetitions of a patient type, the one of the facility's own authority (CX.4 empty, or in
 * `ownAuthorities`); failing that the first under another authority, under its own name.
 */
export function identify(cx: string, delimiters: Delimiters, options: PatientIdentityRule): Identified {
  const identifiers = cx
    .split(delimiters.repetition, repetitionsMax)
    .map((repetition) => readIdentifier(repetition, delimiters, options))
    .filter((identifier) => identifier !== undefined);
  const own = identifiers.filter(({ authority }) => authority === '');
  if (new Set(own.map(({ normalized }) => normalized)).size > 1) return { found: 'many' };
  const chosen = own[0] ?? identifiers[0];
  if (!chosen) return { found: 'none' };
  const others = identifiers.filter(
    ({ authority, type }) => authority !== '' && authority !== chosen.authority && type !== '',
  );
  return { found: 'named', patient: nameOf(chosen), others: others.map(nameOf) };
}

function readIdentifier(cx: string, delimiters: Delimiters, options: PatientIdentityRule): Identifier | undefined {
  const parts = cx.split(delimiters.component);
  const id = clean(parts[0], delimiters);
  const type = (parts[4] ?? '').trim().toUpperCase();
  if (id.trim() === '' || !patientTypes.has(type)) return undefined;
  const authority = authorityOf(parts[3] ?? '', delimiters, options.ownAuthorities);
  // Our own numbers are padded as our systems pad them; of another facility's numbers we know no such rule.
  const normalized = authority === '' ? normalizePatientId(id, options) : id.trim();
  return { authority, id, normalized, type };
}

/** '' for our own: nothing said, or one of the names, namespaces or universal ids that the configuration lists. */
function authorityOf(hd: string, delimiters: Delimiters, ownAuthorities: readonly string[]): string {
  const whole = clean(hd, delimiters).trim();
  const [namespace = '', universalId = ''] = hd
    .split(delimiters.subcomponent)
    .map((part) => clean(part, delimiters).trim());
  const isOwn = [whole, namespace, universalId].some((name) => name !== '' && ownAuthorities.includes(name));
  const isEmpty = namespace === '' && universalId === '';
  return isOwn || isEmpty ? '' : whole;
}

function nameOf({ authority, id, normalized }: Identifier): PatientName {
  return { authority, id, normalized };
}

export function isSamePatient(a: PatientName, b: PatientName): boolean {
  return a.authority === b.authority && a.normalized === b.normalized;
}
