/**
 * What must no longer be used. A retraction covers the records it names in parcels made before it took effect: a
 * patient who later withdraws the stop is delivered again under the same record ids, and those are good.
 */
import { Decrypter } from 'age-encryption';
import { z } from 'zod';
import { peekJws } from '../../agent/base/jws.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import type { Instant } from '../../agent/model/record.ts';
import type { RetractionDetail } from '../../agent/model/wire.ts';
import { retractionShape } from '../intake/shapes.ts';

/** The parcel a record lies in, as far as a retraction asks. */
export interface RetractedFrom {
  readonly parcelId: string;
  /** ISO 8601. */
  readonly createdAt: string;
}

const ids = z.array(z.string().max(256)).max(1_000_000);
const detailShape: z.ZodType<RetractionDetail> = z.object({
  subjectIds: ids,
  patientIds: ids,
  recordIds: ids,
  parcelIds: ids,
  effectiveAt: z.string().max(40),
});

export interface OpenedRetraction {
  readonly retractionId: string;
  readonly detail: RetractionDetail;
}

/** @throws ConnectorError RETRACTION_UNREADABLE - none of the identities opens it, or it does not hold what it should. */
export async function openRetraction(jws: string, identities: readonly string[]): Promise<OpenedRetraction> {
  const { retractionId, detail } = retractionShape.parse(peekJws(jws));
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  try {
    const plain = await decrypter.decrypt(Buffer.from(detail, 'base64'), 'text');
    return { retractionId, detail: detailShape.parse(JSON.parse(plain)) };
  } catch (cause) {
    // The cause may quote what was decrypted, so only its kind is told.
    throw new ConnectorError('RETRACTION_UNREADABLE', { reason: cause instanceof Error ? cause.name : 'unknown' });
  }
}

/** Several retractions, asked record by record. */
export class Retracted {
  readonly #records = new Map<string, Coverage[]>();
  readonly #subjects = new Map<string, Coverage[]>();

  constructor(retractions: readonly OpenedRetraction[]) {
    for (const { retractionId, detail } of retractions) {
      const coverage = { retractionId, parcels: new Set(detail.parcelIds), before: Date.parse(detail.effectiveAt) };
      for (const id of detail.recordIds) add(this.#records, id, coverage);
      for (const id of detail.subjectIds) add(this.#subjects, id, coverage);
    }
  }

  /** The retraction that covers a record of this parcel, if one does. */
  ofRecord(recordId: string, from: RetractedFrom): string | undefined {
    return covering(this.#records.get(recordId), from);
  }

  ofSubject(subjectId: string, from: RetractedFrom): string | undefined {
    return covering(this.#subjects.get(subjectId), from);
  }
}

interface Coverage {
  readonly retractionId: string;
  readonly parcels: ReadonlySet<string>;
  readonly before: Instant;
}

function add(map: Map<string, Coverage[]>, id: string, coverage: Coverage): void {
  const known = map.get(id);
  if (known) known.push(coverage);
  else map.set(id, [coverage]);
}

function covering(coverages: readonly Coverage[] | undefined, from: RetractedFrom): string | undefined {
  return coverages?.find(({ parcels, before }) => parcels.has(from.parcelId) || Date.parse(from.createdAt) <= before)
    ?.retractionId;
}
