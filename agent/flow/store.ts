import type { Deliveries } from '../buffer/deliveries.ts';
import type { Names } from '../buffer/names.ts';
import type { Parcels } from '../buffer/parcels.ts';
import type { Records } from '../buffer/records.ts';
import type { Retractions } from '../buffer/retractions.ts';
import type { SourceMemory } from '../buffer/source-memory.ts';
import type { Spool } from '../buffer/spool.ts';
import type { Db } from '../base/database.ts';
import type { KeyRing } from '../base/keys.ts';
import type { Settings } from '../base/settings.ts';
import type { LawfulTime, RegisterGate } from '../gate/gate.ts';
import type { Register } from '../gate/register.ts';
import type { Subjects } from '../gate/subjects.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Report } from '../model/ports.ts';
import type { StopJournal } from './stop-journal.ts';

/** A producer as the flow sees it. */
export interface ProducerRow {
  readonly id: number;
  readonly name: string;
  /** Age recipients its parcels are encrypted to; at least two. */
  readonly recipients: readonly string[];
}

/**
 * Everything the flow's transactions work on, built once by app.ts. The functions of this folder take it as their
 * first argument; none of them keeps anything of its own between calls.
 */
export interface Store {
  readonly db: Db;
  readonly keys: KeyRing;
  readonly settings: Settings;
  readonly time: LawfulTime;
  readonly facility: string;
  readonly software: string;
  /** Grows at each restore; see epoch. */
  readonly epoch: number;
  readonly producers: readonly ProducerRow[];
  readonly holdMs: number;
  readonly parcelsFolder: string;

  readonly subjects: Subjects;
  readonly register: Register;
  readonly gate: RegisterGate;
  readonly names: Names;
  readonly records: Records;
  readonly deliveries: Deliveries;
  readonly parcels: Parcels;
  readonly retractions: Retractions;
  readonly memory: SourceMemory;
  readonly spool: Spool;
  readonly ledger: Ledger;
  readonly journal: StopJournal;
  readonly report: Report;

  /**
   * Called at each named crash point. The product does nothing there; the fault tests kill the process.
   */
  reached(point: CrashPoint): void;
}

/** Where a kill must change nothing. Each is named in the comment of the function that passes it. */
export const crashPoints = [
  'accept:staged',
  'accept:written',
  'accept:committed',
  'assign:written',
  'assign:committed',
  'pack:file-durable',
  'publish:written',
  'publish:committed',
  'settle:written',
  'settle:committed',
  'stop:journaled',
  'stop:written',
  'stop:committed',
] as const;
export type CrashPoint = (typeof crashPoints)[number];

/** What must be done outside after a transaction has committed. */
export interface AfterCommit {
  /** Spool files nobody needs any more, by seal id. */
  readonly spool: Buffer[];
  /** Parcel ids whose files are void now. */
  readonly files: string[];
  /** Parcel ids whose upload must be broken off before anybody is answered. */
  readonly abort: string[];
}

export function nothingAfter(): AfterCommit {
  return { spool: [], files: [], abort: [] };
}

/** What several transactions leave to be done, as one. */
export function allAfter(each: readonly AfterCommit[]): AfterCommit {
  return {
    spool: each.flatMap(({ spool }) => spool),
    files: each.flatMap(({ files }) => files),
    abort: each.flatMap(({ abort }) => abort),
  };
}

export function producerOf(store: Store, id: number): ProducerRow | undefined {
  return store.producers.find((producer) => producer.id === id);
}
