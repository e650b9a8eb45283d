import type { Category } from './category.ts';

/** Milliseconds since the epoch, UTC. */
export type Instant = number;

/** A calendar day in Asia/Tokyo, `YYYY-MM-DD`. Text order is time order. */
export type DayJst = string;

/** Two ways to pack: text compresses five-fold, images do not and would block the text behind them. */
export type Lane = 'text' | 'image';

/** Insert-or-replace, or delete of what the same native key named before (SS-MIX2's own words). */
export type RecordOperation = 'INS' | 'DEL';

/** A patient as one system names them. `authority` is '' for the facility's own numbering. */
export interface PatientName {
  readonly authority: string;
  /** As sent, every leading zero kept. */
  readonly id: string;
  /** After the source's own rule (`patientId: { strip, pad }`); this is what the register is asked about. */
  readonly normalized: string;
}

/** What a producer needs to link a person across hospitals. Read from a decoded copy; never logged. */
export interface Demographics {
  readonly nameKanji?: string;
  readonly nameKana?: string;
  readonly nameAlphabetic?: string;
  /** `YYYY-MM-DD` where the source gives a whole date, else as sent. */
  readonly birthDate?: string;
  readonly sex?: string;
  readonly address?: string;
  /** Insurer number, symbol, number, branch; one text per insurance, as sent. */
  readonly insurance?: readonly string[];
}

/** Why a record is set aside without being judged; an operator releases or discards it. */
export type QuarantineReason =
  | 'UNREADABLE'
  | 'NO_PATIENT'
  | 'TWO_PATIENTS'
  | 'BAD_NAME'
  | 'COUNT_MISMATCH'
  | 'UNDECODABLE'
  | 'DAMAGED';

/** What routing needs to know about one payload, and what travels beside it in records.ndjson. */
export interface RecordFacts {
  /** The standard's own identity: MSH-10 with sender, type/id, SS-MIX2 logical key, SOP Instance UID. */
  readonly nativeKey: string;
  readonly versionKey?: string;
  readonly op: RecordOperation;
  readonly category: Category;
  readonly lane: Lane;
  /**
   * Whose record it is. Empty only with `quarantine`. More than one person only for a merge, where every one of them
   * is judged and the strictest verdict wins.
   */
  readonly patients: readonly PatientName[];
  /** `prior` is from now on known as `surviving` (ADT^A40 and its relatives, a FHIR Patient link). */
  readonly merge?: { readonly prior: PatientName; readonly surviving: PatientName };
  /** Names of one person, to be linked to `patients[0]`: FHIR ids, other identifiers. */
  readonly aliases?: readonly PatientName[];
  /** ISO 8601 with offset, as far as the source told. */
  readonly eventAt?: string;
  /** How it reached us, for Art. 55: `mllp`, `ssmix2-scan`, `fhir-search`, `c-store`, `c-move` … */
  readonly route: string;
  readonly mediaType: string;
  readonly charset?: string;
  readonly orderNumber?: string;
  readonly studyInstanceUid?: string;
  readonly seriesInstanceUid?: string;
  readonly sopInstanceUid?: string;
  readonly modality?: string;
  readonly accessionNumber?: string;
  readonly transferSyntaxUid?: string;
  readonly demographics?: Demographics;
  readonly quarantine?: QuarantineReason;
}

/**
 * A record's exact bytes. `prefix` is put in front of `body` in the parcel but is not part of its identity: DICOM's
 * deterministic Part 10 header. A stream is read once, sealed while it is read, and never held whole in memory; a chunk
 * of it is there until the next is asked for. Bytes are sealed when their row is written: whoever offers them leaves them
 * as they are until `accept` has resolved.
 */
export interface Payload {
  readonly prefix?: Uint8Array;
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
}

export interface OfferedRecord {
  readonly payload: Payload;
  /** Called once, after the payload's last byte was read: a stream's facts may lie anywhere in it. */
  describe(): RecordFacts;
}

/** What became of one offered record. All five are acknowledged to the peer as taken. */
export type Outcome = 'kept' | 'held' | 'refused' | 'quarantined' | 'duplicate';

export interface OfferResult {
  readonly outcome: Outcome;
  /** Hex of the record's id, stable across restarts and restores. */
  readonly recordId: string;
}
