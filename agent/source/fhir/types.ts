/**
 * What each FHIR R4 resource type is to us: the legal item it belongs to, and by which parameters it is searched for
 * one patient. A type that is not here can be configured; its resources are `unclassified` and held until an operator
 * gives them a category.
 */
import type { Category } from '../../model/category.ts';
import { at, objects, text, texts, type JsonObject } from './value.ts';

interface TypeRule {
  /** Every category a resource of this type can have; the first where nothing in it says otherwise. */
  readonly categories: readonly [Category, ...Category[]];
  /** Search parameter of the clinical date, FHIR R4 search parameter registry. */
  readonly date?: string;
  /** Where the patient is looked for, best first. */
  readonly patient?: readonly string[];
}

const medication = ['prescription', 'injection'] as const;
const laboratory = ['unclassified', 'lab-result', 'exam-result', 'observation'] as const;

const rules: Readonly<Record<string, TypeRule>> = {
  Patient: { categories: ['demographics'] },
  Coverage: { categories: ['insurance'], patient: ['patient', 'beneficiary'] },
  Encounter: { categories: ['encounter'], date: 'date' },
  EpisodeOfCare: { categories: ['encounter'], date: 'date' },
  Appointment: { categories: ['encounter'], date: 'date' },
  Condition: { categories: ['diagnosis'], date: 'recorded-date' },
  AllergyIntolerance: { categories: ['allergy'], date: 'date' },
  Observation: { categories: laboratory, date: 'date' },
  DiagnosticReport: { categories: laboratory, date: 'date' },
  Specimen: { categories: ['lab-result'] },
  ServiceRequest: { categories: ['unclassified', 'lab-order', 'exam-order'], date: 'authored' },
  MedicationRequest: { categories: medication, date: 'authoredon' },
  MedicationDispense: { categories: medication, date: 'whenhandedover' },
  MedicationAdministration: { categories: medication, date: 'effective-time' },
  MedicationStatement: { categories: medication, date: 'effective' },
  NutritionOrder: { categories: ['diet'], date: 'datetime' },
  Procedure: { categories: ['procedure'], date: 'date' },
  Immunization: { categories: ['immunization'], date: 'date' },
  ImagingStudy: { categories: ['image'], date: 'started' },
  DocumentReference: { categories: ['document'], date: 'date' },
  Composition: { categories: ['document'], date: 'date' },
  Claim: { categories: ['claim'], date: 'created' },
};

/** Those a hospital that changes nothing is asked for: what JP Core and JP-CLINS profile about one patient. */
export const defaultTypes: readonly string[] = [
  'Patient',
  'Coverage',
  'Encounter',
  'Condition',
  'AllergyIntolerance',
  'Observation',
  'DiagnosticReport',
  'ServiceRequest',
  'MedicationRequest',
  'MedicationDispense',
  'MedicationAdministration',
  'Procedure',
  'Immunization',
  'DocumentReference',
];

export function categoriesOf(type: string): readonly Category[] {
  return rules[type]?.categories ?? ['unclassified'];
}

export function dateParameterOf(type: string): string | undefined {
  return rules[type]?.date;
}

export function patientParametersOf(type: string): readonly string[] {
  return rules[type]?.patient ?? ['patient', 'subject'];
}

/**
 * The legal item of one resource. `overrides` come first: by `Type/code` for any code of its categories, then by
 * `Type`. Where its own categories contradict each other it is `unclassified`: nobody was told of such a record.
 */
export function categoryOf(
  type: string,
  resource: JsonObject,
  overrides: Readonly<Record<string, Category>>,
): Category {
  const codes = categoryCodes(resource['category']);
  const local = codes.map((code) => overrides[`${type}/${code}`]).find((found) => found !== undefined);
  const configured = local ?? overrides[type];
  if (configured !== undefined) return configured;
  const [usual] = categoriesOf(type);
  const isInjection = categoriesOf(type) === medication && hasInjectionProfile(resource);
  if (isInjection) return 'injection';
  const table = codeTables[type];
  if (!table) return usual ?? 'unclassified';
  const told = new Set(codes.map((code) => table[code]).filter((found) => found !== undefined));
  const [only] = told;
  return told.size === 1 && only !== undefined ? only : 'unclassified';
}

/** JP Core 1.2 tells injections from prescriptions by profile (`JP_MedicationRequest_Injection`). */
function hasInjectionProfile(resource: JsonObject): boolean {
  return texts(at(resource, 'meta', 'profile')).some((profile) => /_Injection(\||$)/.test(profile));
}

/** A list of CodeableConcepts, or one (FHIR R4 has both forms). */
function categoryCodes(value: unknown): string[] {
  const concepts = Array.isArray(value) ? objects(value) : objects([value]);
  return concepts.flatMap(({ coding }) => objects(coding).flatMap(({ code }) => text(code) ?? []));
}

type CodeTable = Readonly<Record<string, Category>>;

/** terminology.hl7.org observation-category; JP Core's JP_SimpleObservationCategory_CS has the same codes. */
const observationCodes: CodeTable = {
  laboratory: 'lab-result',
  'vital-signs': 'observation',
  'social-history': 'observation',
  survey: 'observation',
  activity: 'observation',
  exam: 'exam-result',
  imaging: 'exam-result',
  procedure: 'exam-result',
  therapy: 'exam-result',
};

/** HL7 v2 table 0074 (diagnostic service sections) and the LOINC parts JP Core names instead. */
const reportCodes: CodeTable = {
  ...Object.fromEntries(
    'LAB CH HM MB MCB SR IMM CUS TX BLB VR MYC PAR SER BG GE CG'
      .split(' ')
      .map((code) => [code, 'lab-result'] as const),
  ),
  ...Object.fromEntries(
    'RAD RX CT NMR US NMS VUS CTH PET MRI XRC EC EN OUS CUSA CP SP PF NRS'
      .split(' ')
      .map((code) => [code, 'exam-result'] as const),
  ),
  'LP29693-6': 'lab-result',
  'LP7819-8': 'lab-result',
  'LP29684-5': 'exam-result',
  'LP7839-6': 'exam-result',
  'LP7796-8': 'exam-result',
  laboratory: 'lab-result',
  imaging: 'exam-result',
};

/** SNOMED CT, as FHIR R4's value set servicerequest-category has them, and the plain words. */
const requestCodes: CodeTable = {
  '108252007': 'lab-order',
  laboratory: 'lab-order',
  '363679005': 'exam-order',
  imaging: 'exam-order',
};

const codeTables: Readonly<Record<string, CodeTable>> = {
  Observation: observationCodes,
  DiagnosticReport: reportCodes,
  ServiceRequest: requestCodes,
};
