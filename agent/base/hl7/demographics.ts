/** What a producer needs to link a person: PID and IN1, as HL7 v2.5.1 and the Japanese profiles fill them. */
import type { Demographics } from '../../model/record.ts';
import { clean, type Delimiters } from './text.ts';

/** Insurances of one patient that are read; a person has one or two, with public subsidies a handful. */
const insurancesMax = 16;

type NameKey = 'nameKanji' | 'nameKana' | 'nameAlphabetic';

/** XPN.8, HL7 table 0465: ideographic, phonetic, alphabetic. */
const nameKeys: ReadonlyMap<string, NameKey> = new Map([
  ['I', 'nameKanji'],
  ['P', 'nameKana'],
  ['A', 'nameAlphabetic'],
]);

export function readDemographics(
  pid: readonly string[] | undefined,
  in1: readonly (readonly string[])[],
  delimiters: Delimiters,
): Demographics | undefined {
  if (!pid) return undefined;
  const birthDate = dayOf(clean(pid[7], delimiters));
  const sex = clean(pid[8], delimiters);
  const address = readAddress(pid[11], delimiters);
  const insurance = in1
    .slice(0, insurancesMax)
    .map((fields) => readInsurance(fields, delimiters))
    .filter((text) => text !== '');
  const found: Demographics = {
    ...readNames(pid[5], delimiters),
    ...(birthDate !== '' && { birthDate }),
    ...(sex !== '' && { sex }),
    ...(address !== '' && { address }),
    ...(insurance.length > 0 && { insurance }),
  };
  return Object.keys(found).length > 0 ? found : undefined;
}

/** PID-5 repeats once a script; where XPN.8 is missing the characters themselves tell. The first of each kind counts. */
function readNames(xpn: string | undefined, delimiters: Delimiters): Partial<Record<NameKey, string>> {
  const names: Partial<Record<NameKey, string>> = {};
  for (const repetition of (xpn ?? '').split(delimiters.repetition, 8)) {
    const parts = repetition.split(delimiters.component);
    // XPN.1 is a family name with subcomponents; only its first is the name itself.
    const family = clean(parts[0]?.split(delimiters.subcomponent, 1)[0], delimiters);
    const name = [family, clean(parts[1], delimiters)].filter((part) => part !== '').join(' ');
    if (name !== '') names[nameKeys.get(parts[7] ?? '') ?? scriptOf(name)] ??= name;
  }
  return names;
}

function scriptOf(name: string): NameKey {
  if (/^[\p{Script=Katakana}\p{Script=Hiragana}\u30fc\uff70\uff9e\uff9f\s\u3000]+$/u.test(name)) return 'nameKana';
  return /^[\u0020-\u024f]+$/.test(name) ? 'nameAlphabetic' : 'nameKanji';
}

/** XAD: post code, then from the larger to the smaller; Japanese systems put the whole into component 8. */
const addressComponents = [5, 4, 3, 1, 2, 8];

function readAddress(xad: string | undefined, delimiters: Delimiters): string {
  const parts = (xad ?? '').split(delimiters.repetition, 1)[0]?.split(delimiters.component) ?? [];
  return addressComponents
    .map((position) => clean(parts[position - 1], delimiters))
    .filter((part) => part !== '')
    .join(' ');
}

/**
 * Insurer's number (IN1-3), symbol (IN1-10), number (IN1-11) and, where a sender gives one, the branch as a further
 * component of IN1-11, joined by `/`. An absent one keeps its place.
 */
function readInsurance(in1: readonly string[], delimiters: Delimiters): string {
  const insurer = clean(in1[3]?.split(delimiters.component, 1)[0], delimiters);
  const symbol = clean(in1[10], delimiters);
  const numbers = (in1[11] ?? '').split(delimiters.component).map((part) => clean(part, delimiters));
  const text = [insurer, symbol, ...numbers].join('/');
  return /[^/]/.test(text) ? text : '';
}

function dayOf(text: string): string {
  const match = /^(\d{4})(\d\d)(\d\d)/.exec(text);
  return match ? `${match[1]}-${match[2]}-${match[3]}` : text;
}
