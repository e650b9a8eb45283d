/** What a producer needs to link a person, as JP Core's Patient profile says it. */
import type { Demographics } from '../../model/record.ts';
import { at, type JsonObject, objects, text, texts } from './value.ts';

type NameKey = 'nameKanji' | 'nameKana' | 'nameAlphabetic';

/** The extension that tells the script of a name, and its codes: ideographic, syllabic, alphabetic. */
const representation = 'http://hl7.org/fhir/StructureDefinition/iso21090-EN-representation';
const nameKeys: Readonly<Record<string, NameKey>> = { IDE: 'nameKanji', SYL: 'nameKana', ABC: 'nameAlphabetic' };

export function readDemographics(patient: JsonObject): Demographics | undefined {
  const birthDate = matching(patient['birthDate'], /^\d{4}(-\d\d(-\d\d)?)?$/);
  const sex = matching(patient['gender'], /^[a-z]{1,32}$/);
  const address = addressOf(objects(patient['address'])[0]);
  const found: Demographics = {
    ...namesOf(patient),
    ...(birthDate !== undefined && { birthDate }),
    ...(sex !== undefined && { sex }),
    ...(address !== undefined && { address }),
  };
  return Object.keys(found).length > 0 ? found : undefined;
}

function matching(value: unknown, pattern: RegExp): string | undefined {
  const found = text(value);
  return found !== undefined && pattern.test(found) ? found : undefined;
}

/** The first name of each script; where none is told, the characters tell. */
function namesOf(patient: JsonObject): Partial<Record<NameKey, string>> {
  const names: Partial<Record<NameKey, string>> = {};
  for (const name of objects(patient['name'])) {
    if (name['use'] === 'old') continue;
    const written =
      text([text(name['family']), ...texts(name['given'])].filter(Boolean).join(' ')) ?? text(name['text']);
    if (written !== undefined) names[keyOf(name, written)] ??= written;
  }
  return names;
}

function keyOf(name: JsonObject, written: string): NameKey {
  const code = objects(name['extension']).find(({ url }) => url === representation)?.['valueCode'];
  return nameKeys[String(code)] ?? scriptOf(written);
}

function scriptOf(name: string): NameKey {
  if (/^[\p{Script=Katakana}\p{Script=Hiragana}\u30fc\uff70\uff9e\uff9f\s\u3000]+$/u.test(name)) return 'nameKana';
  return /^[\u0020-\u024f]+$/.test(name) ? 'nameAlphabetic' : 'nameKanji';
}

/** Post code and text; without a text, from the larger to the smaller. */
function addressOf(address: JsonObject | undefined): string | undefined {
  if (!address) return undefined;
  const whole = text(address['text']);
  const parts = [at(address, 'state'), at(address, 'city'), ...texts(address['line'])].map(text);
  return text([text(address['postalCode']), ...(whole === undefined ? parts : [whole])].filter(Boolean).join(' '));
}
