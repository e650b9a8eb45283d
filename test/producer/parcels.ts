/** Real parcels with invented patients, sealed to the recipients a hospital was given. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packParcel, type ParcelEntry, parseRecipients, type SubjectLine } from '../../agent/parcel/index.ts';
import type { ParcelStatement } from '../../agent/model/wire.ts';
import { recordIdOf, recordLineOf } from '../parcel/record-line.ts';
import { facility, type Hospital, sha256 } from './rig.ts';

export const studyUid = '1.2.392.200036.9125.2.1';
export const seriesUid = '1.2.392.200036.9125.3.7';

export interface PackedSample {
  readonly bytes: Buffer;
  readonly statement: ParcelStatement;
}

interface SampleOptions {
  readonly folder: string;
  readonly entries: readonly ParcelEntry[];
  readonly subjects?: readonly SubjectLine[];
  readonly recipients?: readonly string[];
  readonly changes?: Partial<ParcelStatement>;
}

export function textEntry(index: number, text: string, changes: Partial<ParcelEntry['line']> = {}): ParcelEntry {
  const body = Buffer.from(text);
  const payload = { bytes: body.length, sha256: sha256(body) };
  const whose = { facility, patientId: `000000${index}`, patientIdNormalized: String(index), subjectId: `s-${index}` };
  return { line: recordLineOf(index, payload, { ...whose, ...changes }), body };
}

export function imageEntry(index: number, pixels: Uint8Array, changes: Partial<ParcelEntry['line']> = {}): ParcelEntry {
  const { line } = textEntry(index, '', {
    category: 'image',
    mediaType: 'application/dicom',
    studyInstanceUid: studyUid,
    seriesInstanceUid: seriesUid,
    sopInstanceUid: `1.2.392.200036.9125.4.${index}`,
    bytes: pixels.length,
    sha256: sha256(pixels),
    ...changes,
  });
  return { line, body: pixels, prefix: Buffer.from('a Part 10 header') };
}

export function subjectLine(index: number, name: string): SubjectLine {
  return {
    subjectId: `s-${index}`,
    patientId: `000000${index}`,
    patientIdNormalized: String(index),
    recordId: recordIdOf(index),
    nameKanji: name,
  };
}

/** Packs as the agent does, and states what was packed. */
export async function packSample(hospital: Hospital, options: SampleOptions): Promise<PackedSample> {
  const { entries, subjects = [], changes = {} } = options;
  const recipients = options.recipients ?? parseRecipients(await readFile(join(hospital.folder, 'recipients'), 'utf8'));
  const draft = hospital.statement(Buffer.alloc(1), changes);
  const path = join(options.folder, `${draft.parcelId}.sealed`);
  const { parcelId, agent, epoch, sequence, registerVersion, ledgerHead, createdAt, lane } = draft;
  const parcel = { parcelId, agent, epoch, sequence, registerVersion, ledgerHead, createdAt };
  const packed = await packParcel({
    path,
    lane,
    recipients,
    entries,
    trailer: () => ({ subjects, parcel: { ...parcel, completeThrough: {}, software: 'kakehashi/0.1.0' } }),
  });
  const { bytes, sha256: digest, counts } = packed;
  return { bytes: await readFile(path), statement: { ...draft, bytes, sha256: digest, counts } };
}

export async function deliverSample(hospital: Hospital, { bytes, statement }: PackedSample): Promise<void> {
  await hospital.announce(statement);
  const { status } = await hospital.patch(statement.parcelId, 0, bytes);
  if (status !== 204) throw new Error(`the sample was answered ${status}`);
}
