/** How one system's patient numbers are brought to the form the register knows. */
export interface PatientIdRule {
  readonly strip: 'none' | 'leading-zeros' | 'non-digits';
  readonly pad?: number | undefined;
}

const strippers: Readonly<Record<PatientIdRule['strip'], (id: string) => string>> = {
  none: (id) => id,
  // A number of nothing but zeros keeps one: '' would be nobody.
  'leading-zeros': (id) => id.replace(/^0+(?=.)/, ''),
  // An id without any digit has nothing left to be known by, so it stays what it is.
  'non-digits': (id) => id.replaceAll(/\D/g, '') || id,
};

/** `strip`, then `pad`. White space around a number is never part of it. */
export function normalizePatientId(id: string, { strip, pad }: PatientIdRule): string {
  const kept = strippers[strip](id.trim());
  return pad === undefined ? kept : kept.padStart(pad, '0');
}
