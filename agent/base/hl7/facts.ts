/**
 * What routing needs to know about one message, and what a producer needs to link its patient, read from a decoded
 * copy of the few segments that say it. The payload itself is never touched. Never throws: whatever the bytes are, the
 * answer is facts, if need be with a reason for quarantine.
 */
import type { Category } from '../../model/category.ts';
import type { PatientName, QuarantineReason, RecordFacts } from '../../model/record.ts';
import { categoryOf, isMerge, isResult, operationOf } from './classify.ts';
import { type Charset, countUnreadable, decode, detectCharset, isPlain, usesJisX0212 } from './charset.ts';
import { readDemographics } from './demographics.ts';
import { component, field, type Header } from './header.ts';
import { identify, isSamePatient, type PatientIdentityRule } from './patient.ts';
import { findSegments, sameNameMax, type SegmentName, type Segments, walkedBytesMax } from './segments.ts';
import { clean, fieldsOf, isoTime } from './text.ts';

export interface FactsOptions {
  readonly encoding: Charset | 'auto';
  readonly patientId: PatientIdentityRule;
  readonly categories: Readonly<Record<string, Category>>;
}

/** Told when characters of the segments read could not be decoded: a measure of the feed's quality, not an error. */
export type Unreadable = (found: { readonly characters: number; readonly isJisX0212: boolean }) => void;

/** `x-` because HL7 never registered one; HL7 over HTTP (HAPI) and IHE use this name. */
const mediaType = 'x-application/hl7-v2+er7';

/** All that a message says of itself; by what key it is known and how it came, only its source can say. */
export type MessageFacts = Omit<RecordFacts, 'nativeKey' | 'route'>;

export function readMessageFacts(
  message: Buffer,
  header: Header,
  options: FactsOptions,
  unreadable?: Unreadable,
): MessageFacts {
  const reader = new Reader(message, header, options);
  const type = component(header, 9, 1);
  const trigger = component(header, 9, 2) || reader.first('EVN', 1);
  const category = categoryOf(type, trigger, options.categories, () => reader.medication());
  const persons = readPersons(reader, isMerge(type, trigger), options.patientId);
  const quarantine = persons.quarantine ?? (isUnreadable(type + trigger) ? 'UNDECODABLE' : undefined);
  const eventAt = eventTime(reader, category);
  const orderNumber = reader.first('ORC', 2);
  const demographics = readDemographics(reader.fields('PID')[0], reader.fields('IN1'), header);
  if (reader.unreadableCount > 0)
    unreadable?.({ characters: reader.unreadableCount, isJisX0212: usesJisX0212(message) });
  return {
    op: operationOf(type, trigger, reader.isWhole ? reader.each('ORC', 1) : []),
    category,
    lane: 'text',
    patients: persons.patients,
    ...(persons.merge && { merge: persons.merge }),
    ...(persons.aliases.length > 0 && { aliases: persons.aliases }),
    ...(eventAt !== undefined && { eventAt }),
    mediaType,
    charset: reader.charsetName,
    ...(orderNumber !== '' && { orderNumber }),
    ...(demographics && persons.patients.length > 0 && { demographics }),
    ...(quarantine && { quarantine }),
  };
}

/** A message type is printable ASCII in every encoding; anything else was not decoded or is damaged. */
function isUnreadable(text: string): boolean {
  return !/^[\x20-\x7e]*$/.test(text);
}

interface Persons {
  readonly patients: readonly PatientName[];
  readonly merge?: { readonly prior: PatientName; readonly surviving: PatientName };
  readonly aliases: readonly PatientName[];
  readonly quarantine?: QuarantineReason;
}

/**
 * Every PID-3 and MRG-1 of the message must name the same person; only a merge may name two, and then exactly one
 * each. A repeated merge of several pairs (A40 allows it) cannot be told in one record and is set aside.
 */
function readPersons(reader: Reader, merges: boolean, options: PatientIdentityRule): Persons {
  const surviving = distinct(reader, reader.repeated('PID', 3), options);
  if ('quarantine' in surviving) return surviving;
  const priorTexts = reader.repeated('MRG', 1);
  if (priorTexts.length === 0 && !merges) return surviving;
  const prior = distinct(reader, priorTexts, options);
  if ('quarantine' in prior) return prior;
  const [survivor, former] = [surviving.patients[0], prior.patients[0]];
  if (!survivor || !former) return quarantined('NO_PATIENT');
  if (isSamePatient(survivor, former)) return surviving;
  if (!merges) return quarantined('TWO_PATIENTS');
  return {
    patients: [survivor, former],
    merge: { prior: former, surviving: survivor },
    aliases: surviving.aliases,
  };
}

function distinct(reader: Reader, identifierLists: readonly string[], options: PatientIdentityRule): Persons {
  if (identifierLists.length > sameNameMax) return quarantined('TWO_PATIENTS');
  if (identifierLists.some((list) => list.includes('\ufffd'))) return quarantined('UNDECODABLE');
  let chosen: PatientName | undefined;
  let aliases: readonly PatientName[] = [];
  for (const list of identifierLists) {
    const identified = identify(list, reader.header, options);
    if (identified.found === 'many') return quarantined('TWO_PATIENTS');
    if (identified.found === 'none') return quarantined('NO_PATIENT');
    if (chosen && !isSamePatient(chosen, identified.patient)) return quarantined('TWO_PATIENTS');
    if (!chosen) aliases = identified.others;
    chosen ??= identified.patient;
  }
  return chosen ? { patients: [chosen], aliases } : quarantined('NO_PATIENT');
}

function quarantined(quarantine: QuarantineReason): Persons & { quarantine: QuarantineReason } {
  return { patients: [], aliases: [], quarantine };
}

function eventTime(reader: Reader, category: Category): string | undefined {
  const candidates = [isResult(category) ? reader.first('OBR', 7) : '', reader.first('EVN', 2)];
  for (const text of candidates) {
    const time = isoTime(text);
    if (time !== undefined) return time;
  }
  return isoTime(component(reader.header, 7));
}

/** Decodes a segment when it is first asked for. */
class Reader {
  readonly header: Header;
  readonly #segments: Segments;
  readonly #charset: Charset;
  readonly #isPlain: boolean;
  readonly #fields = new Map<SegmentName, readonly string[][]>();
  unreadableCount = 0;

  constructor(message: Buffer, header: Header, { encoding }: FactsOptions) {
    this.header = header;
    this.#segments = findSegments(message);
    const sample = sampleOf(message);
    this.#isPlain = isPlain(sample);
    this.#charset = encoding === 'auto' ? detectCharset(sample, field(header, 18)) : encoding;
  }

  /** Plain ASCII is named so: it is true in every encoding, and the next message of this sender may be in another. */
  get charsetName(): string {
    return this.#isPlain ? 'us-ascii' : this.#charset;
  }

  get isWhole(): boolean {
    return this.#segments.isWhole;
  }

  fields(name: SegmentName): readonly string[][] {
    let found = this.#fields.get(name);
    if (!found) {
      found = (this.#segments.byName.get(name) ?? []).map((segment) => {
        const text = decode(segment, this.#charset);
        this.unreadableCount += countUnreadable(text);
        return fieldsOf(text, this.header);
      });
      this.#fields.set(name, found);
    }
    return found;
  }

  /** A field of every segment of this name, whole. */
  repeated(name: SegmentName, position: number): string[] {
    return this.fields(name).map((fields) => fields[position] ?? '');
  }

  /** The first component of a field, of every segment of this name. */
  each(name: SegmentName, position: number): string[] {
    return this.repeated(name, position).map((text) =>
      clean(text.split(this.header.component, 1)[0], this.header).trim(),
    );
  }

  first(name: SegmentName, position: number): string {
    const text = this.fields(name)[0]?.[position] ?? '';
    return clean(text.split(this.header.component, 1)[0], this.header).trim();
  }

  medication() {
    return {
      routes: this.each('RXR', 1).map((route) => route.toUpperCase()),
      hasComponents: this.fields('RXC').length > 0,
      isWhole: this.isWhole,
    };
  }
}

/** What the encoding is judged by: up to a segment's end, so that no character is cut. */
function sampleOf(message: Buffer): Buffer {
  if (message.length <= walkedBytesMax) return message;
  const end = message.lastIndexOf(0x0d, walkedBytesMax);
  return message.subarray(0, end > 0 ? end : walkedBytesMax);
}
