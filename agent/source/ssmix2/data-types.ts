/**
 * The data types of the standardized storage: 26 folder names, 36 with the cancel or delete that ten of them have
 * beside their event (SS-MIX2 guideline 1.2h, standardized storage). The folder decides the category, for RDE^O11 and
 * RAS^O17 are prescriptions in one and injections in another.
 */
import type { Category } from '../../model/category.ts';

interface DataType {
  readonly category: Category;
  /** What is filed under it, and what takes that back. */
  readonly messages: string;
}

export const dataTypes: Readonly<Record<string, DataType>> = {
  'ADT-00': { category: 'demographics', messages: 'ADT^A08, ADT^A23' },
  'ADT-01': { category: 'encounter', messages: 'ADT^A54, ADT^A55' },
  'ADT-12': { category: 'encounter', messages: 'ADT^A04' },
  'ADT-21': { category: 'encounter', messages: 'ADT^A14, ADT^A27' },
  'ADT-22': { category: 'encounter', messages: 'ADT^A01, ADT^A11' },
  'ADT-31': { category: 'encounter', messages: 'ADT^A21, ADT^A52' },
  'ADT-32': { category: 'encounter', messages: 'ADT^A22, ADT^A53' },
  'ADT-41': { category: 'encounter', messages: 'ADT^A15, ADT^A26' },
  'ADT-42': { category: 'encounter', messages: 'ADT^A02, ADT^A12' },
  'ADT-51': { category: 'encounter', messages: 'ADT^A16, ADT^A25' },
  'ADT-52': { category: 'encounter', messages: 'ADT^A03, ADT^A13' },
  'ADT-61': { category: 'allergy', messages: 'ADT^A60' },
  'PPR-01': { category: 'diagnosis', messages: 'PPR^ZD1' },
  OMD: { category: 'diet', messages: 'OMD^O03' },
  'OMP-01': { category: 'prescription', messages: 'RDE^O11' },
  'OMP-11': { category: 'prescription', messages: 'RAS^O17' },
  'OMP-02': { category: 'injection', messages: 'RDE^O11' },
  'OMP-12': { category: 'injection', messages: 'RAS^O17' },
  'OML-01': { category: 'lab-order', messages: 'OML^O33' },
  'OML-11': { category: 'lab-result', messages: 'OUL^R22' },
  'OMG-01': { category: 'exam-order', messages: 'OMG^O19' },
  'OMG-11': { category: 'exam-result', messages: 'OMI^Z23' },
  'OMG-02': { category: 'exam-order', messages: 'OMG^O19' },
  'OMG-12': { category: 'exam-result', messages: 'OMI^Z23' },
  'OMG-03': { category: 'exam-order', messages: 'OMG^O19' },
  'OMG-13': { category: 'exam-result', messages: 'ORU^R01' },
};

/** The hospital's own table first. A data type that neither knows is `unclassified`, which nothing can name: held. */
export function categoryOf(dataType: string, configured: Readonly<Record<string, Category>>): Category {
  // A folder may have any name, also that of something every object inherits.
  if (Object.hasOwn(configured, dataType)) return configured[dataType] ?? 'unclassified';
  return (Object.hasOwn(dataTypes, dataType) ? dataTypes[dataType]?.category : undefined) ?? 'unclassified';
}
