/**
 * A test message built here: ADT^A08 for an invented patient. node-hl7-client puts it together; it is loaded only now,
 * for it needs 119 MB. Its `escape` returns what it is given, so values are escaped by us: a `|` in a value would
 * become a field, a CR a segment.
 */
import { isoJst } from '../../base/clock.ts';
import type { Instant } from '../../model/record.ts';
import type { Charset } from '../../base/hl7/charset.ts';

export interface AdtRequest {
  readonly patientId: string;
  readonly controlId: string;
  readonly at: Instant;
  readonly charset: Charset;
}

/** MSH-18 as HL7 table 0211 spells it; CP932 has no entry and is what Japanese systems write. */
const msh18: Readonly<Record<Charset, string>> = {
  'utf-8': 'UNICODE UTF-8',
  'iso-2022-jp': '~ISO IR87',
  cp932: 'SHIFT_JIS',
  'euc-jp': 'EUC-JP',
};

/** Invented, and marked as a test in its name. */
const patient = { name: '架橋^太郎', kana: 'カケハシ^タロウ', birthDate: '19700101', sex: 'M' } as const;

/** As text; `charset` is what it is going to be encoded in. */
export async function buildAdt({ patientId, controlId, at, charset }: AdtRequest): Promise<string> {
  const { HL7_2_5 } = await import('node-hl7-client');
  const time = isoJst(at).replaceAll(/\D/g, '').slice(0, 14);
  const builder = new HL7_2_5();
  builder.buildMSH({ msh_9_1: 'ADT', msh_9_2: 'A08', msh_10: escapeValue(controlId), msh_11_1: 'T' });
  builder.buildEVN({ evn_1: 'A08' });
  builder.buildPID({ pid_3: '0', pid_5: patient.name });
  builder.buildPV1({ pv1_2: 'O' });
  const message = builder.toMessage();
  // The builder guesses MSH-9.3 wrong (HL7 table 0354: A08 has the structure of A01) and drops MSH-18.
  message.set('MSH.3', 'KAKEHASHI-TEST').set('MSH.7', time).set('MSH.9.3', 'ADT_A01').set('MSH.18', msh18[charset]);
  message.set('EVN.2', time);
  // Not by the builder, which counts the letters of an escape and refuses a number it takes for too long.
  message.set('PID.3', escapeValue(patientId));
  message
    .set('PID.5', [patient.name, patient.kana].join('~'))
    .set('PID.7', patient.birthDate)
    .set('PID.8', patient.sex);
  return `${message.toString()}\r`;
}

const escapes: Readonly<Record<string, string>> = {
  '\\': '\\E\\',
  '|': '\\F\\',
  '^': '\\S\\',
  '&': '\\T\\',
  '~': '\\R\\',
};

/** HL7 v2.5.1 section 2.7.1. Control characters have no place in a value and are dropped. */
export function escapeValue(value: string): string {
  return value.replaceAll(/\p{Cc}/gu, '').replaceAll(/[\\|^&~]/g, (delimiter) => escapes[delimiter] ?? '');
}
