/**
 * The legal items (項目) a record can belong to: what a notice tells the patient and a filing tells the ministers
 * (Art. 52(1)iii, 57(1)iii). Closed on purpose: a record of an unknown kind is `unclassified`, which no notice and no
 * filing can name, so it is held.
 */
export const categories = [
  'demographics',
  'insurance',
  'encounter',
  'diagnosis',
  'allergy',
  'prescription',
  'injection',
  'diet',
  'lab-order',
  'lab-result',
  'exam-order',
  'exam-result',
  'procedure',
  'observation',
  'immunization',
  'document',
  'image',
  'claim',
  'master',
] as const;

export type FiledCategory = (typeof categories)[number];
export type Category = FiledCategory | 'unclassified';

export function isFiledCategory(text: string): text is FiledCategory {
  return (categories as readonly string[]).includes(text);
}
