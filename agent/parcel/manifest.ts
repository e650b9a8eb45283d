/**
 * The four files that stand behind the payloads of a parcel, and what their lines hold. docs/parcel-format.md is the
 * prose; both ends use these types, and everything read is checked against the schemas below.
 *
 * Fields a reader does not know are ignored, so that a hospital may be upgraded before its producer. What this side
 * writes is taken field by field from the lists here: nothing else of an object can slip into a parcel.
 */
import { z } from 'zod';
import { categories } from '../model/category.ts';
import { bases } from '../model/ports.ts';
import type { Lane } from '../model/record.ts';

export const recordsName = 'records.ndjson';
export const subjectsName = 'subjects.ndjson';
export const digestsName = 'manifest-sha256.txt';
export const parcelName = 'parcel.json';

/** In this order, after the last payload. */
export const trailerNames = [recordsName, subjectsName, digestsName, parcelName] as const;

export const suite = 'age-v1';

/** How a sealed file's name ends: what to take off, from the right, to get at the entries. */
export const laneSuffix: Readonly<Record<Lane, string>> = { text: '.tar.zst.age', image: '.tar.age' };

const text = z.string().max(4096);
const word = z.string().min(1).max(256);
const count = z.number().int().nonnegative();
const digest = z.string().regex(/^[0-9a-f]{64}$/);
const moment = z.iso.datetime({ offset: true });

/** 16 bytes in hex. The entry of a record bears this name, so it can be no path and no device. */
export const recordIdSchema = z.string().regex(/^[0-9a-f]{32}$/);

const recordShape = {
  recordId: recordIdSchema,
  /** Code of the hospital; equals `agent` of parcel.json. */
  facility: word,
  /** The patient as sent, and after the source's own rule. All three are absent for a record without a subject. */
  patientId: text.optional(),
  patientIdNormalized: text.optional(),
  /** Stable name of the person at this hospital; what a retraction names. */
  subjectId: word.optional(),
  basis: z.enum(bases),
  /** Version of the notice that covers the record; absent for a record without a subject. */
  notice: word.optional(),
  category: z.enum(categories),
  nativeKey: text,
  versionKey: text.optional(),
  op: z.enum(['INS', 'DEL']),
  /** ISO 8601, as far as the source told. */
  eventAt: word.optional(),
  /** Configured name of the source, and how the record reached us. */
  source: word,
  route: word,
  mediaType: word,
  charset: word.optional(),
  orderNumber: text.optional(),
  studyInstanceUid: text.optional(),
  seriesInstanceUid: text.optional(),
  sopInstanceUid: text.optional(),
  modality: text.optional(),
  accessionNumber: text.optional(),
  transferSyntaxUid: text.optional(),
  /** Bytes that stand in the entry before the payload (DICOM's Part 10 header); absent for none. */
  prefixBytes: z.number().int().positive().optional(),
  /** Of the payload as the hospital's system gave it, without the prefix. */
  bytes: count,
  sha256: digest,
};

const demographicsShape = {
  nameKanji: text.optional(),
  nameKana: text.optional(),
  nameAlphabetic: text.optional(),
  birthDate: word.optional(),
  sex: word.optional(),
  address: text.optional(),
  insurance: z.array(text).max(32).optional(),
};

const subjectShape = {
  subjectId: word,
  patientId: text,
  patientIdNormalized: text,
  /** The record this was read from; in this parcel or an earlier one. */
  recordId: recordIdSchema,
  ...demographicsShape,
};

const mergeShape = {
  event: z.literal('merge'),
  /** From now on the same person as `into`. */
  subjectId: word,
  into: word,
  recordId: recordIdSchema,
};

const ledgerHeadSchema = z.object({
  seq: count,
  hash: z
    .string()
    .regex(/^[0-9a-f]*$/)
    .max(128),
});

/** What parcel.json and the signed statement both say; they must say the same. */
const sharedShape = {
  parcelId: z.string().regex(/^[0-9A-Za-z-]{1,64}$/),
  agent: word,
  epoch: count,
  sequence: z.number().int().positive(),
  previous: word.exactOptional(),
  lane: z.enum(['text', 'image']),
  suite: z.literal(suite),
  counts: z.object({ records: count, subjects: count }),
};

/** What both say of their own moment: parcel.json of its packing, the statement of the publishing after it. */
const momentShape = { registerVersion: count, ledgerHead: ledgerHeadSchema, createdAt: moment };

const parcelShape = {
  ...sharedShape,
  ...momentShape,
  /** By configured source: what it had up to then is delivered, held, refused or noted as a gap. ISO 8601. */
  completeThrough: z.record(word, moment),
  software: word,
};

export const recordSchema = z.object(recordShape).readonly();
const descriptionSchema = z.object(subjectShape).readonly();
const mergeSchema = z.object(mergeShape).readonly();
export const parcelSchema = z.object(parcelShape).readonly();
export const statementSchema = z
  .object({ v: z.literal(1), ...sharedShape, ...momentShape, bytes: count, sha256: digest })
  .readonly();

/** Those fields alone, to hold one against the other. */
export const sharedSchema = z.object(sharedShape);

export type RecordLine = z.infer<typeof recordSchema>;
/** What a producer needs to link a person, limited by the caller to the items filed; or that two are one. */
export type SubjectLine = z.infer<typeof descriptionSchema> | z.infer<typeof mergeSchema>;
export type ParcelFile = z.infer<typeof parcelSchema>;

const recordFields = Object.keys(recordShape);
const subjectFields = Object.keys(subjectShape);
const mergeFields = Object.keys(mergeShape);

/** Of a line of subjects.ndjson: one with an `event` is that, whatever else it holds. */
export function subjectSchemaOf(line: unknown): z.ZodType {
  return typeof line === 'object' && line !== null && 'event' in line ? mergeSchema : descriptionSchema;
}

export function recordLine(line: RecordLine): string {
  return ordered(recordFields, line);
}

export function subjectLine(line: SubjectLine): string {
  return ordered('event' in line ? mergeFields : subjectFields, line);
}

export function parcelJson(parcel: ParcelFile): string {
  return `${JSON.stringify(parcelSchema.parse(parcel), undefined, 2)}\n`;
}

/** As `sha256sum` writes it for a file read in text mode, so that `sha256sum -c` checks it. */
export function digestLine(name: string, sha256: string): string {
  return `${sha256}  ${name}\n`;
}

export function parseDigestLine(line: string): { name: string; sha256: string } | undefined {
  const [, sha256, name] = /^([0-9a-f]{64}) {2}([0-9a-z.-]+)$/.exec(line) ?? [];
  return sha256 !== undefined && name !== undefined ? { name, sha256 } : undefined;
}

function ordered(fields: readonly string[], line: Readonly<Record<string, unknown>>): string {
  const chosen: Record<string, unknown> = {};
  // What is absent is not even named: naming it doubles the time of a line, and there are 50,000.
  for (const field of fields) if (line[field] !== undefined) chosen[field] = line[field];
  return `${JSON.stringify(chosen)}\n`;
}
