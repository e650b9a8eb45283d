import type { Category, FiledCategory } from './category.ts';
import type { ConnectorError } from './errors.ts';
import type { ConnectorEvent } from './events.ts';
import type { Instant, OfferedRecord, OfferResult, PatientName } from './record.ts';

/** The only way to the time. Tests put a clock of their own here; nothing else calls Date.now or setTimeout. */
export interface Clock {
  /** Wall clock. Not to be trusted for the law: see `flow/trusted-clock`. */
  now(): Instant;
  /** Milliseconds that never go back and do not follow the wall clock's steps. */
  monotonic(): number;
  /** Resolves after `durationMs`, or at once (without error) when `signal` aborts. */
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
}

/** Tells what happened: one log line and one counter per event, never patient data (see `model/events.ts`). */
export type Report = (event: ConnectorEvent) => void;

/** A change of a source's own memory: a cursor, a job, a manifest, a catalogue row. Committed with the records. */
export interface StateChange {
  /** A word of the source's own, in the clear: `cursor`, `catalogue`. Never patient data. */
  readonly kind: string;
  /** Stored as HMAC, so it may be a path or an id. */
  readonly key: string;
  /** Stored sealed. `undefined` forgets the key. */
  readonly value: Uint8Array | undefined;
  /** Stored in the clear and indexed: a generation, a due time, a flag. Never patient data. Default 0. */
  readonly mark?: number;
}

/** A durable note that something was not taken and how it will be fetched again. */
export interface GapNote {
  readonly code: 'FULL' | 'EXPIRED' | 'DEFERRED' | 'INCOMPLETE' | 'CHANGED';
  /** Stored sealed: whatever the source needs to fetch it again; shown to nobody. */
  readonly reference: string;
}

export interface Offer {
  readonly records: readonly OfferedRecord[];
  readonly state?: readonly StateChange[];
  readonly gaps?: readonly GapNote[];
  /** References of gaps of this source that these records close. */
  readonly closes?: readonly string[];
}

/** The one door from a source into the connector. */
export interface Intake {
  /**
   * Takes records across the gate into the buffer, together with the state changes that cover them.
   *
   * Resolves when the transaction that holds all of it is on disk (synchronous=FULL, and for spooled payloads file,
   * rename and folder before it); only then may the source acknowledge its peer or forget what it read. One result a
   * record, in order. Offering the same record again is harmless: it is a duplicate, or revives under the same id.
   * A stream that throws fails this offer only, and nothing of it is stored.
   *
   * @throws ConnectorError BUFFER_FULL - nothing was stored; answer "busy" in the peer's own protocol.
   * @throws ConnectorError BUFFER_FAILED - nothing was stored; the same answer.
   */
  accept(offer: Offer): Promise<readonly OfferResult[]>;

  /**
   * Asked before anything is read. `take` it; `defer` it: remember a reference (a gap `DEFERRED`) and fetch it when
   * the patient becomes eligible; `never`: not even that, this patient has said no. Synchronous, at most 20 µs.
   */
  wants(patient: PatientName, category: Category): 'take' | 'defer' | 'never';

  /** What is known of versions seen before, by `nativeKey` and, where given, `versionKey`. One answer a key. */
  known(keys: readonly { nativeKey: string; versionKey?: string }[]): ('live' | 'delivered' | 'refused' | 'unknown')[];

  /** The source's memory of one key, opened. */
  state(kind: string, key: string): { value: Uint8Array; mark: number } | undefined;

  /** Up to `limit` remembered values of a kind with `mark < below`, lowest first. */
  states(kind: string, options: { below: number; limit: number }): { value: Uint8Array; mark: number }[];
}

/** What a source gets from us, and all it gets. */
export interface SourceHost {
  readonly name: string;
  /** Code of the hospital, 10 digits: identifier systems are made from it. Without it none counts as its own. */
  readonly facility?: string;
  readonly intake: Intake;
  readonly clock: Clock;
  /** Aborts when the agent stops. */
  readonly signal: AbortSignal;
  readonly report: Report;
}

export interface PollTally {
  readonly offered: number;
  readonly outcomes: Readonly<Record<OfferResult['outcome'], number>>;
  /** False when it should be run again: it stopped early (time, rate, an unreachable peer), or left things open. */
  readonly complete: boolean;
  /** What was found and is not here whole, of a poll that came to its end: studies of which the PACS sent a part. */
  readonly open?: number;
}

export type PollOccasion = 'by-schedule' | 'by-hand';

/** Told now and then during a poll, for a progress bar. `total` is absent while unknown. */
export type Progress = (state: { done: number; total?: number; unit: string }) => void;

/**
 * A place records come from. Made idle by its `create`; `listen` and `poll` may both be there (DICOM, HL7).
 */
export interface Source {
  /** Opens the listener and resolves with the port bound. Twice without `stop` between is a bug. */
  listen?(): Promise<{ readonly port: number }>;
  /**
   * One run over what is new. Never called twice at once. Aborting `signal` ends it soon, and nothing is lost. For a
   * person who asks by hand, what waits for a later time to be tried again is tried now.
   */
  poll?(signal: AbortSignal, progress: Progress, asked?: PollOccasion): Promise<PollTally>;
  /** Asks the peer how it is, changing nothing there. */
  probe(): Promise<Probe>;
  /** No new records after it resolves; what was being accepted is finished and answered. Harmless twice. */
  stop(): Promise<void>;
}

export type Probe =
  | { readonly ok: true; readonly peer: string }
  | { readonly ok: false; readonly error: ConnectorError };

/** Row number of a subject in the register. Means nothing outside this installation. */
export type SubjectId = number;

export type HoldReason =
  | 'no-register'
  | 'register-stale'
  | 'clock-untrusted'
  | 'not-notified'
  | 'waiting'
  | 'category-not-notified'
  | 'not-filed'
  | 'unclassified';

export type Verdict =
  | { readonly pass: true }
  /** `until`: the first day the answer may differ, when only time is missing. */
  | { readonly pass: false; readonly act: 'hold'; readonly reason: HoldReason; readonly until?: string }
  | { readonly pass: false; readonly act: 'refuse'; readonly reason: 'stopped' };

export interface Question {
  readonly subject: SubjectId;
  readonly category: Category;
  readonly producer: string;
}

/** The judge. Synchronous and pure over the register as committed; at most 20 µs; fails closed. */
export interface Gate {
  judge(question: Question): Verdict;
  /** Grows with every change of the register; equal numbers mean equal answers on the same day and clock state. */
  version(): number;
}

/** A basis of the Act a producer is certified under: Art. 52 anonymized, Art. 57 pseudonymized. */
export const bases = ['article-52', 'article-57'] as const;
export type Basis = (typeof bases)[number];

/** What was filed with the ministers. */
export interface Filing {
  readonly producer: string;
  readonly basis: Basis;
  readonly categories: readonly FiledCategory[];
  /** First day in force, Asia/Tokyo. */
  readonly from: string;
}
