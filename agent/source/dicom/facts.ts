/** What routing and records.ndjson need to know of an instance, from its header and the C-STORE command. */
import { isDay } from '../../base/clock.ts';
import { normalizePatientId } from '../../base/patient-id.ts';
import type { Category } from '../../model/category.ts';
import type { Demographics, PatientName, QuarantineReason, RecordFacts } from '../../model/record.ts';
import type { PatientIdOptions } from '../define.ts';
import { backslash, decodeText, equalsSign, readCharacterSets } from './charset.ts';
import { type Header, type TagName, tags } from './header-scanner.ts';
import type { InstanceName } from './part10.ts';
import { isUid } from './uids.ts';

export interface FactsOptions {
  readonly patientId: PatientIdOptions;
  /** By modality (0008,0060): what the hospital files this kind of image under, when not as an image. */
  readonly categories: Readonly<Record<string, Category>>;
}

export interface Arrival extends InstanceName {
  readonly isMoved: boolean;
}

export function readFacts(header: Header, arrival: Arrival, options: FactsOptions): RecordFacts {
  const reader = new Reader(header);
  const persons = readPatient(reader, options.patientId);
  const modality = reader.text('modality');
  const characterSet = reader.plain('specificCharacterSet');
  const eventAt = readTime(reader);
  const demographics = readDemographics(reader);
  const uid = (name: TagName) => (isUid(reader.plain(name)) ? reader.plain(name) : '');
  return {
    nativeKey: uid('sopInstanceUid') || arrival.sopInstanceUid,
    op: 'INS',
    category: categoryOf(modality, options),
    lane: 'image',
    patients: persons.patients,
    ...(eventAt !== undefined && { eventAt }),
    route: arrival.isMoved ? 'c-move' : 'c-store',
    mediaType: 'application/dicom',
    ...present('charset', characterSet),
    ...present('studyInstanceUid', uid('studyInstanceUid')),
    ...present('seriesInstanceUid', uid('seriesInstanceUid')),
    sopInstanceUid: uid('sopInstanceUid') || arrival.sopInstanceUid,
    ...present('modality', modality),
    ...present('accessionNumber', reader.text('accessionNumber')),
    transferSyntaxUid: arrival.transferSyntaxUid,
    ...(demographics && persons.patients.length > 0 && { demographics }),
    ...(persons.quarantine && { quarantine: persons.quarantine }),
  };
}

/** Images unless configured otherwise. */
function categoryOf(modality: string, { categories }: Pick<FactsOptions, 'categories'>): Category {
  return (Object.hasOwn(categories, modality) ? categories[modality] : undefined) ?? 'image';
}

/** A patient as named in a data set or an answer of the PACS; undefined without a number. */
export function patientName(id: string, issuer: string, options: PatientIdOptions): PatientName | undefined {
  if (id.trim() === '') return undefined;
  const authority = options.ownAuthorities.includes(issuer.trim()) ? '' : issuer.trim();
  // Our own numbers are padded as our systems pad them; of another facility's numbers we know no such rule.
  const normalized = authority === '' ? normalizePatientId(id, options) : id.trim();
  return { authority, id, normalized };
}

function present<Key extends keyof RecordFacts>(key: Key, text: string): { readonly [K in Key]?: string } {
  return text === '' ? {} : ({ [key]: text } as { readonly [K in Key]: string });
}

interface Persons {
  readonly patients: readonly PatientName[];
  readonly quarantine?: QuarantineReason;
}

function readPatient(reader: Reader, options: PatientIdOptions): Persons {
  const quarantined = (quarantine: QuarantineReason): Persons => ({ patients: [], quarantine });
  if (!reader.header.isPatientWhole) return quarantined('UNREADABLE');
  const ids = reader.values('patientId');
  if (reader.isContradictory('patientId') || reader.isContradictory('issuerOfPatientId') || ids.length > 1) {
    return quarantined('TWO_PATIENTS');
  }
  const [id = ''] = ids;
  const issuer = reader.text('issuerOfPatientId');
  if (`${id}${issuer}`.includes('\ufffd')) return quarantined('UNDECODABLE');
  const patient = patientName(id, issuer, options);
  return patient ? { patients: [patient] } : quarantined('NO_PATIENT');
}

class Reader {
  readonly header: Header;
  readonly #characterSets: readonly number[];

  constructor(header: Header) {
    this.header = header;
    this.#characterSets = readCharacterSets(header.values.get(tags.specificCharacterSet));
  }

  isContradictory(name: TagName): boolean {
    return this.header.contradictory.has(tags[name]);
  }

  /** Of the default character set: UIDs, dates, codes. */
  plain(name: TagName): string {
    return trimmed(this.header.values.get(tags[name])?.toString('latin1') ?? '');
  }

  values(name: TagName): string[] {
    return this.#decode(name, backslash);
  }

  text(name: TagName): string {
    return this.values(name)[0] ?? '';
  }

  /** The groups of a person's name: alphabetic, ideographic, phonetic. PS3.5 section 6.2.1. */
  nameGroups(name: TagName): string[] {
    return this.#decode(name, equalsSign);
  }

  #decode(name: TagName, delimiter: number): string[] {
    const value = this.header.values.get(tags[name]);
    return value ? decodeText(value, this.#characterSets, delimiter).map(trimmed) : [];
  }
}

/** Padding is no part of a value, PS3.5 section 6.2; blanks inside are. */
function trimmed(text: string): string {
  return text.replaceAll(/^ +|[ \0]+$/g, '');
}

type NameKey = 'nameKanji' | 'nameKana' | 'nameAlphabetic';

function readDemographics(reader: Reader): Demographics | undefined {
  const birthDate = dayOf(reader.plain('patientBirthDate'));
  const sex = reader.plain('patientSex');
  const address = reader.text('patientAddress');
  const found: Demographics = {
    ...readNames(reader.nameGroups('patientName')),
    ...(birthDate !== '' && { birthDate }),
    ...(sex !== '' && { sex }),
    ...(address !== '' && { address }),
  };
  return Object.keys(found).length > 0 ? found : undefined;
}

/**
 * The second and third group are what they are. The first is called alphabetic and, in Japan, is as often half-width
 * katakana (ISO IR 13) or kanji: the characters tell, and a group meant for them comes before it.
 */
function readNames([first = '', ideographic = '', phonetic = '']: readonly string[]): Partial<Record<NameKey, string>> {
  const names: Partial<Record<NameKey, string>> = {};
  const put = (key: NameKey, group: string) => {
    // Family, given and middle name; prefix and suffix are titles.
    const name = group
      .split('^', 3)
      .map((part) => part.trim())
      .filter((part) => part !== '')
      .join(' ');
    if (name !== '' && !name.includes('\ufffd')) names[key] ??= name;
  };
  put('nameKanji', ideographic);
  put('nameKana', phonetic);
  put(scriptOf(first), first);
  return names;
}

function scriptOf(name: string): NameKey {
  if (/^[\u0020-\u024f]*$/.test(name)) return 'nameAlphabetic';
  return /^[\p{Script=Katakana}\p{Script=Hiragana}\u30fc\uff70\uff9e\uff9f\s\u3000^.]+$/u.test(name)
    ? 'nameKana'
    : 'nameKanji';
}

/** DA, also as `YYYY.MM.DD` of ACR-NEMA, PS3.5 section 6.2. */
function dayOf(text: string): string {
  const match = /^(\d{4})\.?(\d\d)\.?(\d\d)$/.exec(text);
  return match ? `${match[1]}-${match[2]}-${match[3]}` : text;
}

/** Study Date and Time, as far as they tell, in Japan's time unless the header names another offset. */
function readTime(reader: Reader): string | undefined {
  const day = dayOf(reader.plain('studyDate'));
  if (!isDay(day)) return undefined;
  const time = /^([01]\d|2[0-3])([0-5]\d)(?:([0-5]\d)(\.\d{1,6})?)?$/.exec(
    reader.plain('studyTime').replaceAll(':', ''),
  );
  if (!time) return day;
  const [, hour, minute, second = '00', fraction = ''] = time;
  const offset = /^([+-]\d\d)(\d\d)$/.exec(reader.plain('timezoneOffset'));
  return `${day}T${hour}:${minute}:${second}${fraction}${offset ? `${offset[1]}:${offset[2]}` : '+09:00'}`;
}
