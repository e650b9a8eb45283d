/** The rows of parcels: one an id for ever, and the only truth about how far each has come. */
import { type Db, inTransaction, type Statement } from '../../agent/base/database.ts';
import type { Instant } from '../../agent/model/record.ts';
import type { ParcelStatement } from '../../agent/model/wire.ts';
import type { ParcelName } from '../storage/store.ts';

export type ParcelState = 'receiving' | 'stored' | 'opened' | 'rejected' | 'void';

export interface ParcelRow {
  readonly agent: string;
  readonly parcelId: string;
  readonly state: ParcelState;
  readonly bytes: number;
  /** The JWS; null only for a tombstone of an id that was never seen. */
  readonly statement: string | null;
  /** Bytes that survive a power cut. Equal to `bytes` only once the parcel is stored. */
  readonly received: number;
  readonly attempts: number;
  /** When it was announced. */
  readonly at: Instant;
}

export interface AgentUsage {
  readonly unfinished: number;
  /** Of parcels not opened yet. */
  readonly waitingBytes: number;
}

/** After so many attempts without an answer a person is told: it may be the parcel that ends the process. */
export const stuckAttempts = 5;

interface InsertParams {
  agent: string;
  parcelId: string;
  state: ParcelState;
  epoch: number | null;
  sequence: number | null;
  bytes: number;
  statement: string | null;
  at: Instant;
}

const columns = 'agent, parcel_id AS parcelId, state, bytes, statement, received, attempts, at';

/**
 * When a parcel may be opened again: half a second after the first attempt that ended without an answer, twice as long
 * after each further one, at most 18 hours. A clock that was set back does not make it wait.
 */
const retryAt = 'CASE attempts WHEN 0 THEN 0 ELSE attempted_at + (250 << min(attempts, 18)) END';

export class Parcels {
  readonly #db: Db;
  readonly #find: Statement<[string, string], ParcelRow>;
  readonly #insert: Statement<[InsertParams]>;
  readonly #bySequence: Statement<[string, number, number], { found: number }>;
  readonly #usage: Statement<[string, string], AgentUsage>;
  readonly #rows: Statement<[string], { count: number }>;
  readonly #count: Statement<[number, string]>;
  readonly #buried: Statement<[string, string]>;
  readonly #toBury: Statement<[], ParcelName>;
  readonly #receive: Statement<[number, string, string]>;
  readonly #move: Statement<[{ agent: string; parcelId: string; from: ParcelState; to: ParcelState }]>;
  readonly #store: Statement<[string, string]>;
  readonly #storedAt: Statement<[Instant, string]>;
  readonly #attempt: Statement<[number, Instant, string, string]>;
  readonly #toOpen: Statement<[Instant, string, Instant, Instant], ParcelRow>;
  readonly #retryAt: Statement<[], { at: Instant | null }>;

  constructor(db: Db) {
    this.#db = db;
    this.#find = db.prepare(`SELECT ${columns} FROM parcel WHERE agent = ? AND parcel_id = ?`);
    this.#insert = db.prepare(`INSERT INTO parcel(agent, parcel_id, state, epoch, sequence, bytes, statement, at)
      VALUES (:agent, :parcelId, :state, :epoch, :sequence, :bytes, :statement, :at)`);
    this.#bySequence = db.prepare(
      `SELECT 1 AS found FROM parcel WHERE agent = ? AND epoch = ? AND sequence = ? AND state <> 'void'`,
    );
    this.#usage = db.prepare(`SELECT
      (SELECT count(*) FROM parcel WHERE agent = ? AND state = 'receiving') AS unfinished,
      (SELECT coalesce(sum(bytes), 0) FROM parcel WHERE agent = ? AND state IN ('receiving','stored')) AS waitingBytes`);
    this.#rows = db.prepare('SELECT parcel_count AS count FROM agent WHERE code = ?');
    this.#count = db.prepare(`UPDATE agent SET parcel_count = parcel_count + 1, sequence_max = max(sequence_max, ?)
      WHERE code = ?`);
    this.#buried = db.prepare(`UPDATE parcel SET bytes = 0 WHERE agent = ? AND parcel_id = ? AND state = 'void'`);
    this.#toBury = db.prepare(`SELECT agent, parcel_id AS parcelId FROM parcel WHERE state = 'void' AND bytes > 0`);
    this.#receive = db.prepare(
      `UPDATE parcel SET received = ? WHERE agent = ? AND parcel_id = ? AND state = 'receiving'`,
    );
    this.#move = db.prepare(
      'UPDATE parcel SET state = :to WHERE agent = :agent AND parcel_id = :parcelId AND state = :from',
    );
    this.#store = db.prepare(`UPDATE parcel SET state = 'stored', received = bytes
      WHERE agent = ? AND parcel_id = ? AND state = 'receiving'`);
    this.#storedAt = db.prepare('UPDATE agent SET stored_at = ? WHERE code = ?');
    this.#attempt = db.prepare(
      'UPDATE parcel SET attempts = attempts + ?, attempted_at = ? WHERE agent = ? AND parcel_id = ?',
    );
    this.#toOpen = db.prepare(`SELECT ${columns} FROM parcel
      WHERE state = 'stored' AND (at, parcel_id) > (?, ?) AND (${retryAt} <= ? OR attempted_at > ?)
      ORDER BY at, parcel_id LIMIT 1`);
    this.#retryAt = db.prepare(`SELECT min(${retryAt}) AS at FROM parcel WHERE state = 'stored'`);
  }

  find({ agent, parcelId }: ParcelName): ParcelRow | undefined {
    return this.#find.get(agent, parcelId);
  }

  hasSequence({ agent, epoch, sequence }: ParcelStatement): boolean {
    return this.#bySequence.get(agent, epoch, sequence) !== undefined;
  }

  usage(agent: string): AgentUsage {
    return this.#usage.get(agent, agent) ?? { unfinished: 0, waitingBytes: 0 };
  }

  rowCount(agent: string): number {
    return this.#rows.get(agent)?.count ?? 0;
  }

  announce(statement: ParcelStatement, jws: string, at: Instant): void {
    const { agent, parcelId, epoch, sequence, bytes } = statement;
    this.#insert.run({ agent, parcelId, state: 'receiving', epoch, sequence, bytes, statement: jws, at });
    this.#count.run(sequence, agent);
  }

  /** A tombstone for an id that was never announced: it may still be on its way, and must then be refused. */
  buryUnseen({ agent, parcelId }: ParcelName, at: Instant): void {
    this.#insert.run({ agent, parcelId, state: 'void', epoch: null, sequence: null, bytes: 0, statement: null, at });
    this.#count.run(0, agent);
  }

  /** Says that the bytes of a voided parcel are gone from the disk. */
  buried({ agent, parcelId }: ParcelName): void {
    this.#buried.run(agent, parcelId);
  }

  /** Voided parcels whose bytes a crash may have left behind. */
  toBury(): ParcelName[] {
    return this.#toBury.all();
  }

  /** Says how many bytes are durable; without effect once the parcel is no longer being received. */
  received({ agent, parcelId }: ParcelName, bytes: number): void {
    this.#receive.run(bytes, agent, parcelId);
  }

  /** True when it was being received until now: whoever gets true has won against a DELETE. */
  store({ agent, parcelId }: ParcelName, at: Instant): boolean {
    const hasWon = this.#store.run(agent, parcelId).changes === 1;
    if (hasWon) this.#storedAt.run(at, agent);
    return hasWon;
  }

  /** True when the state was `from` until now. */
  move({ agent, parcelId }: ParcelName, from: ParcelState, to: ParcelState): boolean {
    return this.#move.run({ agent, parcelId, from, to }).changes === 1;
  }

  /** Counted before opening begins, so that a parcel which kills the process is counted too. */
  beginOpening({ agent, parcelId }: ParcelName, at: Instant): void {
    this.#attempt.run(1, at, agent, parcelId);
  }

  /** The attempt ended in an orderly way, without saying anything of the parcel. */
  forgetOpening({ agent, parcelId }: ParcelName): void {
    this.#attempt.run(-1, 0, agent, parcelId);
  }

  /** The stored parcel that has waited longest and may be tried now, or the next one behind `after`. */
  nextToOpen(now: Instant, after?: ParcelRow): ParcelRow | undefined {
    return this.#toOpen.get(after?.at ?? 0, after?.parcelId ?? '', now, now);
  }

  /** When the first of the parcels that are not to be tried yet may be; undefined when none waits. */
  nextRetryAt(): Instant | undefined {
    return this.#retryAt.get()?.at ?? undefined;
  }

  /** Several of the above as one. */
  atomically<T>(work: () => T extends Promise<unknown> ? never : T): T {
    return inTransaction(this.#db, work);
  }
}
