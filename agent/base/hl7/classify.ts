/**
 * What kind of record a message is: its legal category, whether it takes something back, whether it merges patients.
 * Tables by message type and trigger event; the types are those of SS-MIX2's 36 data types (guideline 1.2h) and the
 * ones beside them in HL7 v2.5.1. What is not in a table is `unclassified`, which nothing can name, so it is held.
 */
import type { Category } from '../../model/category.ts';
import type { RecordOperation } from '../../model/record.ts';

/** Every trigger of a message type, unless the pair has a line of its own. */
const byType: Readonly<Record<string, Category>> = {
  PPR: 'diagnosis',
  OMD: 'diet',
  OML: 'lab-order',
  OUL: 'lab-result',
  OMG: 'exam-order',
  OMI: 'exam-order',
  MDM: 'document',
  VXU: 'immunization',
};

const byEvent: Readonly<Record<string, Category>> = {
  ...sameFor('ADT', 'demographics', 'A08 A18 A23 A24 A28 A29 A30 A31 A34 A36 A37 A39 A40 A46 A47 A48 A49'),
  ...sameFor('ADT', 'encounter', 'A01 A02 A03 A04 A05 A06 A07 A09 A10 A11 A12 A13 A14 A15 A16 A17 A20 A21 A22'),
  ...sameFor('ADT', 'encounter', 'A25 A26 A27 A32 A33 A35 A38 A41 A42 A43 A44 A45 A50 A51 A52 A53 A54 A55 A61 A62'),
  ...sameFor('ADT', 'allergy', 'A60'),
  'OMI^Z23': 'exam-result',
  // ORU^R01 also carries physiology results (OMG-13); which, only the hospital can say: `categories`.
  'ORU^R01': 'lab-result',
  ...sameFor('ORU', 'observation', 'R30 R31 R32'),
};

function sameFor(type: string, category: Category, triggers: string): Record<string, Category> {
  return Object.fromEntries(triggers.split(' ').map((trigger) => [`${type}^${trigger}`, category]));
}

/** RDE^O11 and RAS^O17 are prescriptions (OMP-01, -11) and injections (OMP-02, -12) alike. */
const medication = new Set(['RDE^O11', 'RAS^O17', 'RDS^O13', 'RGV^O15', 'OMP^O09']);

/** Into the body by needle or catheter: HL7 table 0162. Its IH, IN and MTH are inhaled, nasal and by mouth. */
const parenteralRoutes = new Set('EP IA IB IC ICV ID IM IO IP IS IT IV SC SQ'.split(' '));

export interface Medication {
  /** RXR-1.1 of every RXR seen. */
  readonly routes: readonly string[];
  readonly hasComponents: boolean;
  /** Everything was looked at; false for a message longer than the reader's bound. */
  readonly isWhole: boolean;
}

export function categoryOf(
  type: string,
  trigger: string,
  configured: Readonly<Record<string, Category>>,
  medicationOf: () => Medication,
): Category {
  const event = `${type}^${trigger}`;
  const local = own(configured, event) ?? own(configured, type);
  if (local) return local;
  if (medication.has(event)) return medicationCategory(medicationOf());
  return own(byEvent, event) ?? own(byType, type) ?? 'unclassified';
}

/** A message type is what its sender wrote: `constructor` would find what every object inherits. */
function own(table: Readonly<Record<string, Category>>, key: string): Category | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

/**
 * The routes decide. RXR is mandatory in these messages; without a route, components (RXC) tell a mixture for
 * injection. Both kinds in one message, or no sign at all: `unclassified`, for a patient may have been told of one and
 * not of the other.
 */
function medicationCategory({ routes, hasComponents, isWhole }: Medication): Category {
  if (!isWhole) return 'unclassified';
  const named = routes.filter((route) => route !== '');
  if (named.length === 0) return hasComponents ? 'injection' : 'unclassified';
  const parenteral = named.filter((route) => parenteralRoutes.has(route)).length;
  if (parenteral === 0) return 'prescription';
  return parenteral === named.length ? 'injection' : 'unclassified';
}

/** Cancels and deletes: SS-MIX2's "and cancels" of each ADT type, person deletion, cancelled documents. */
const deletes = new Set([
  ...'A11 A12 A13 A23 A25 A26 A27 A29 A32 A33 A38 A52 A53 A55'.split(' ').map((trigger) => `ADT^${trigger}`),
  'MDM^T11',
]);

/** ORC-1, HL7 table 0119: cancel, cancelled, cancelled as requested. `DC` stops something that did happen. */
const cancelCodes = new Set(['CA', 'OC', 'CR']);

/** A message takes back what it names when its event says so, or when every order in it is cancelled. */
export function operationOf(type: string, trigger: string, orderControls: readonly string[]): RecordOperation {
  const isCancelled = orderControls.length > 0 && orderControls.every((code) => cancelCodes.has(code));
  return isCancelled || deletes.has(`${type}^${trigger}`) ? 'DEL' : 'INS';
}

/** Events after which MRG-1 is known as PID-3; HL7 v2.5.1 sections 3.3.18 to 3.3.49 and 3.6. */
const merges = new Set('A18 A34 A36 A39 A40 A47 A49'.split(' ').map((trigger) => `ADT^${trigger}`));

export function isMerge(type: string, trigger: string): boolean {
  return merges.has(`${type}^${trigger}`);
}

/** Results happened when the specimen was taken (OBR-7); everything else when the event did (EVN-2). */
export function isResult(category: Category): boolean {
  return category === 'lab-result' || category === 'exam-result' || category === 'observation';
}
