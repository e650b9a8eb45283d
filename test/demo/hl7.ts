/** The EHR's HL7 v2 feed: invented messages of every patient in the four encodings Japanese systems send. */
import { createCipheriv } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { charsets } from '../../agent/base/hl7/charset.ts';
import type { FiledCategory } from '../../agent/model/category.ts';
import { source as feedName } from '../peers/hospital/hospital.ts';
import { type Hl7Message, hl7, person } from '../peers/hospital/messages.ts';
import type { Fate, Offered } from './accounting.ts';
import { cast, fateOf, mergedInto, type Patient, patients } from './cast.ts';
import type { Stage } from './stage.ts';

/** Of a report that is long on its way, so that something can happen meanwhile. */
const reportBytes = 24 * 1024 * 1024;

export interface PlannedMessage extends Hl7Message {
  readonly fate: Fate;
}

const messageKinds = [
  { type: 'ADT^A08^ADT_A01', category: 'demographics' },
  { type: 'ORU^R01^ORU_R01', category: 'lab-result' },
  {
    type: 'RDE^O11^RDE_O11',
    category: 'prescription',
    segments: ['RXE|1|^アムロジピン^L|1||TAB', 'RXR|PO^内服^HL70162'],
  },
] as const satisfies readonly { type: string; category: FiledCategory; segments?: readonly string[] }[];

export class Hl7Feed implements Stage {
  readonly kind = 'hl7v2';
  readonly about = 'an EHR that sends HL7 v2 over MLLP in UTF-8, ISO-2022-JP, CP932 and EUC-JP';
  readonly sources = [{ name: feedName, kind: 'hl7v2', listen: '127.0.0.1:0' }];
  readonly polls = false;
  readonly overrides = [];
  readonly #sent: PlannedMessage[] = [];

  get offered(): Offered[] {
    return this.#sent.map(({ patientId, sha256, fate }) => ({
      kind: 'hl7v2',
      source: feedName,
      patientId,
      sha256,
      fate,
    }));
  }

  /** These are in the sender's queue from now on. */
  queue(messages: readonly PlannedMessage[]): void {
    this.#sent.push(...messages);
  }

  async keep(folder: string): Promise<void> {
    await mkdir(folder, { recursive: true });
    for (const { controlId, bytes } of this.#sent) await writeFile(join(folder, `${controlId}.hl7`), bytes);
  }

  async close(): Promise<void> {
    // It has no process of its own.
  }
}

/** Every patient, every kind, every encoding; then one that names nobody. */
export function firstDay(): PlannedMessage[] {
  const nobody = planned(hl7({ controlId: 'D1-NOBODY', person: person('') }), 'quarantined');
  return [...cast.flatMap((patient) => messagesOf(patient, 'D1')), nobody];
}

/** One patient's messages of one day; the same again when asked again. */
export function messagesOf(patient: Patient, day: string): PlannedMessage[] {
  return charsets.flatMap((charset) =>
    messageKinds.map(({ type, category, ...more }) => {
      const controlId = `${day}-${patient.id.slice(-2)}-${type.slice(0, 3)}-${charset}`;
      return planned(hl7({ controlId, person: patient, charset, type, ...more }), fateOf(patient, category));
    }),
  );
}

/** ADT^A40: whoever had the number `merged` is from now on known by the other. */
export function merge(): PlannedMessage {
  const segments = [`MRG|${patients.merged.id}^^^^PI`];
  const request = { controlId: 'D1-MERGE', person: mergedInto, type: 'ADT^A40^ADT_A39', segments };
  return planned(hl7(request), 'delivered');
}

/** A message that takes a while to leave: it carries a report that does not compress. */
export function longReport(patient: Patient, controlId: string, fate: Fate): PlannedMessage {
  const key = Buffer.alloc(16, controlId);
  const noise = createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(reportBytes));
  const segments = [`OBX|2|ED|PDF^報告書^L||^AP^^Base64^${noise.toString('base64')}||||||F`];
  return planned(hl7({ controlId, person: patient, segments }), fate);
}

function planned(message: Hl7Message, fate: Fate): PlannedMessage {
  return { ...message, fate };
}
