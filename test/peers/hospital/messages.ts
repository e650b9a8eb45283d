/** Invented HL7 messages of invented patients, as bytes in the encodings that Japanese systems send. */
import { createHash } from 'node:crypto';
import { encoder } from '../../../agent/cli/send/encode.ts';
import type { Charset } from '../../../agent/base/hl7/charset.ts';

export interface Person {
  readonly id: string;
  readonly kanji: string;
  readonly kana: string;
  readonly address: string;
}

export interface MessageRequest {
  readonly controlId: string;
  readonly person: Person;
  readonly charset?: Charset;
  /** Length of an embedded report, in characters; for messages above the spool threshold. */
  readonly reportChars?: number;
  /** The report itself, Base64: random bytes make a parcel that does not shrink. */
  readonly report?: string;
  readonly type?: string;
  /** More segments, without their CR. */
  readonly segments?: readonly string[];
}

export interface Hl7Message {
  readonly controlId: string;
  readonly patientId: string;
  readonly bytes: Buffer;
  /** Hex, of the bytes. */
  readonly sha256: string;
}

/** MSH-18 by encoding, as such systems write it. */
const msh18: Readonly<Record<Charset, string>> = {
  'utf-8': 'UNICODE UTF-8',
  'iso-2022-jp': '~ISO IR87',
  cp932: 'SHIFT_JIS',
  'euc-jp': 'EUC-JP',
};

const encoders = new Map<Charset, ReturnType<typeof encoder>>();

export function person(id: string): Person {
  return { id, kanji: '架橋^太郎', kana: 'カケハシ^タロウ', address: '東京都架空区架橋1-2-3' };
}

/** A lab result (ORU^R01) unless told otherwise. */
export function hl7(request: MessageRequest): Hl7Message {
  const { controlId, person: who, charset = 'utf-8', type = 'ORU^R01^ORU_R01', reportChars = 0 } = request;
  const content = request.report ?? 'QUJD'.repeat(reportChars / 4);
  const report = content === '' ? [] : [`OBX|2|ED|PDF^^L||^AP^^Base64^${content}||||||F`];
  const text = [
    `MSH|^~\\&|HIS001|KAKEHASHI|GW01|RCV|20261123101530||${type}|${controlId}|P|2.5||||||${msh18[charset]}`,
    'EVN||20261123101500',
    `PID|0001||${who.id}^^^^PI||${who.kanji}^^^^^L^I~${who.kana}^^^^^L^P||19700101|M|||^^^^100-0001^JPN^H^${who.address}`,
    'OBR|1||L1|CBC^血算^L|||20261123090000',
    'OBX|1|NM|WBC^白血球^L||5.40|10*3/uL|3.30-8.60|N|||F',
    ...report,
    ...(request.segments ?? []),
    '',
  ].join('\r');
  const bytes = encoded(text, charset);
  return { controlId, patientId: who.id, bytes, sha256: createHash('sha256').update(bytes).digest('hex') };
}

export function encoded(text: string, charset: Charset): Buffer {
  const known = encoders.get(charset) ?? encoder(charset);
  encoders.set(charset, known);
  return known(text);
}
