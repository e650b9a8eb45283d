/**
 * Holds what was extracted against what the parcel says of itself: every digest both ways, every line of the indexes,
 * the counts, and parcel.json against the signed statement.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { z } from 'zod';
import { ConnectorError } from '../model/errors.ts';
import type { ParcelStatement } from '../model/wire.ts';
import type { Extraction } from './extract.ts';
import { parcelLimits } from './limits.ts';
import { indexInvalid, parseJson, textLines } from './lines.ts';
import {
  digestsName,
  type ParcelFile,
  parcelName,
  parcelSchema,
  parseDigestLine,
  type RecordLine,
  recordSchema,
  recordsName,
  sharedSchema,
  subjectSchemaOf,
  subjectsName,
  trailerNames,
} from './manifest.ts';
import { refuseOtherSuite } from './statement.ts';

/**
 * @throws ConnectorError PARCEL_MANIFEST_MISMATCH, PARCEL_INDEX_INVALID, PARCEL_COUNTS_WRONG, PARCEL_SUITE_UNKNOWN,
 * PARCEL_STATEMENT_MISMATCH
 */
export async function verifyContents(
  folder: string,
  extraction: Extraction,
  statement: ParcelStatement | undefined,
): Promise<ParcelFile> {
  const parcel = await readParcelFile(folder, extraction);
  if (statement) compareStatement(parcel, statement);
  await verifyDigests(folder, extraction);
  const records = await verifyRecords(folder, extraction, parcel.agent);
  const subjects = await verifySubjects(folder);
  expectCount('records', records, parcel.counts.records);
  expectCount('subjects', subjects, parcel.counts.subjects);
  return parcel;
}

async function readParcelFile(folder: string, { entries, lane }: Extraction): Promise<ParcelFile> {
  const at = { file: parcelName, line: 1 };
  if ((entries.get(parcelName)?.bytes ?? 0) > parcelLimits.lineBytes) throw indexInvalid(at, 'it is too long');
  const body = parseJson(await readFile(join(folder, parcelName), 'utf8'), at);
  refuseOtherSuite(body);
  const parcel = check(parcelSchema, body, at);
  if (parcel.lane !== lane) throw indexInvalid(at, 'its lane is not that of the file');
  return parcel;
}

function compareStatement(parcel: ParcelFile, statement: ParcelStatement): void {
  // Parsing puts the names of both in the order of the schema, so that equal facts are equal texts.
  const sealed = Object.entries(sharedSchema.parse(parcel));
  const stated = new Map(Object.entries(sharedSchema.parse(statement)));
  const other = sealed.find(([field, value]) => JSON.stringify(value) !== JSON.stringify(stated.get(field)));
  const field = other?.[0] ?? (sealed.length === stated.size ? undefined : 'previous');
  if (field !== undefined) throw new ConnectorError('PARCEL_STATEMENT_MISMATCH', { field });
}

async function verifyDigests(folder: string, { entries }: Extraction): Promise<void> {
  const seen = new Set<string>();
  for await (const { line, text } of textLines(join(folder, digestsName))) {
    const listed = parseDigestLine(text);
    if (!listed) throw digestMismatch(`line ${line} is not a digest and a name`);
    const { name, sha256 } = listed;
    const entry = name === digestsName || name === parcelName ? undefined : entries.get(name);
    if (!entry) throw digestMismatch(`line ${line} names no entry`);
    if (entry.sha256 !== sha256) throw digestMismatch(`line ${line} has another digest than the entry`);
    if (seen.has(name)) throw digestMismatch(`line ${line} repeats a name`);
    seen.add(name);
  }
  if (seen.size !== entries.size - 2) throw digestMismatch(`${entries.size - 2 - seen.size} entries are not listed`);
}

async function verifyRecords(folder: string, { entries }: Extraction, agent: string): Promise<number> {
  const seen = new Set<string>();
  for await (const { line, text } of textLines(join(folder, recordsName))) {
    const at = { file: recordsName, line };
    const record = check(recordSchema, parseJson(text, at), at);
    if (record.facility !== agent) throw indexInvalid(at, 'it is of another facility than the parcel');
    if (seen.has(record.recordId)) throw indexInvalid(at, 'its record was there before');
    seen.add(record.recordId);
    const entry = entries.get(record.recordId);
    if (!entry) throw indexInvalid(at, 'its record is not in the parcel');
    const { prefixBytes = 0 } = record;
    if (entry.bytes !== record.bytes + prefixBytes) throw indexInvalid(at, 'its size is not that of the entry');
    const sha256 = prefixBytes === 0 ? entry.sha256 : await digestBehind(join(folder, record.recordId), record);
    if (sha256 !== record.sha256) throw indexInvalid(at, 'its digest is not that of the payload');
  }
  expectCount('records', seen.size, entries.size - trailerNames.length);
  return seen.size;
}

/** Read again, because where the payload begins is said only after the last entry has gone by. */
async function digestBehind(path: string, { prefixBytes = 0 }: RecordLine): Promise<string> {
  const digest = createHash('sha256');
  await pipeline(createReadStream(path, { start: prefixBytes, highWaterMark: 1024 * 1024 }), digest);
  return digest.digest('hex');
}

async function verifySubjects(folder: string): Promise<number> {
  let count = 0;
  for await (const { line, text } of textLines(join(folder, subjectsName))) {
    const at = { file: subjectsName, line };
    const body = parseJson(text, at);
    check(subjectSchemaOf(body), body, at);
    count++;
  }
  return count;
}

/** The field is named and its value is not. */
function check<T>(schema: z.ZodType<T>, body: unknown, at: { file: string; line: number }): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw indexInvalid(at, `${parsed.error.issues[0]?.path.join('.') || 'it'} is not as the format says`);
}

function expectCount(what: string, found: number, stated: number): void {
  if (found !== stated) throw new ConnectorError('PARCEL_COUNTS_WRONG', { what, found, stated });
}

function digestMismatch(problem: string): ConnectorError {
  return new ConnectorError('PARCEL_MANIFEST_MISMATCH', { problem });
}
