import type { Db, Statement } from '../base/database.ts';
import type { DayJst, Instant, Lane } from '../model/record.ts';
import type { Receipt } from '../model/wire.ts';

export type ParcelState = 'packing' | 'sealed' | 'uploading' | 'stored' | 'opened' | 'voiding' | 'void' | 'rejected';

export interface Parcel {
  readonly id: number;
  readonly pid: string;
  readonly producer: number;
  readonly lane: Lane;
  readonly state: ParcelState;
  readonly sequence: number;
  readonly previous: string | null;
  readonly registerVersion: number;
  readonly judgedOn: DayJst;
  readonly records: number;
  readonly payloadBytes: number;
  readonly subjects: number | null;
  readonly bytes: number | null;
  readonly sha256: string | null;
  readonly statement: string | null;
  readonly bytesSent: number;
  readonly provision: Buffer | null;
  readonly createdAt: Instant;
  readonly publishedAt: Instant | null;
  readonly storedAt: Instant | null;
  readonly endedAt: Instant | null;
  readonly reason: string | null;
}

/** The end of a producer's chain of receipts. */
export interface LastReceipt {
  readonly sequence: number;
  readonly digest: string;
  /** Verified before it was kept. */
  readonly jws: string;
  /** When it was. */
  readonly at: Instant;
}

const columns = `id, pid, producer, lane, state, sequence, previous, register_version AS registerVersion,
  judged_on AS judgedOn, records, payload_bytes AS payloadBytes, subjects, bytes, sha256, statement,
  bytes_sent AS bytesSent, provision, created_at AS createdAt, published_at AS publishedAt, stored_at AS storedAt,
  ended_at AS endedAt, reason`;

/** Parcel rows and the chain of receipts. Synchronous, inside the caller's transaction. */
export class Parcels {
  readonly #db: Db;
  readonly #get: Statement<[number], Parcel>;
  readonly #byPid: Statement<[string], Parcel>;
  readonly #inState: Statement<[string, number], Parcel>;
  readonly #lastPublished: Statement<[number], { sequence: number; pid: string }>;
  readonly #sent: Statement<[number, number], unknown>;
  readonly #judged: Statement<[number, DayJst, number], unknown>;
  readonly #lastStored: Statement<[number], { at: Instant | null }>;
  readonly #lastReceipt: Statement<[number], LastReceipt>;

  constructor(db: Db) {
    this.#db = db;
    this.#get = db.prepare(`SELECT ${columns} FROM parcel WHERE id = ?`);
    this.#byPid = db.prepare(`SELECT ${columns} FROM parcel WHERE pid = ?`);
    this.#inState = db.prepare(`SELECT ${columns} FROM parcel WHERE state = ? AND producer = ? ORDER BY id`);
    this.#lastPublished = db.prepare(
      'SELECT sequence, pid FROM parcel WHERE producer = ? AND statement IS NOT NULL ORDER BY sequence DESC LIMIT 1',
    );
    this.#sent = db.prepare('UPDATE parcel SET bytes_sent = max(bytes_sent, ?) WHERE id = ?');
    this.#judged = db.prepare('UPDATE parcel SET register_version = ?, judged_on = ? WHERE id = ?');
    this.#lastStored = db.prepare(
      'SELECT max(stored_at) AS at FROM parcel WHERE producer = ? AND stored_at IS NOT NULL',
    );
    this.#lastReceipt = db.prepare(
      'SELECT sequence, digest, jws, at FROM receipt WHERE producer = ? ORDER BY sequence DESC LIMIT 1',
    );
  }

  get(id: number): Parcel | undefined {
    return this.#get.get(id);
  }

  byPid(pid: string): Parcel | undefined {
    return this.#byPid.get(pid);
  }

  inState(state: ParcelState, producer: number): Parcel[] {
    return this.#inState.all(state, producer);
  }

  lastPublished(producer: number): { sequence: number; pid: string } | undefined {
    return this.#lastPublished.get(producer);
  }

  insert(parcel: {
    pid: string;
    producer: number;
    lane: Lane;
    sequence: number;
    previous: string | null;
    registerVersion: number;
    judgedOn: DayJst;
    records: number;
    payloadBytes: number;
    createdAt: Instant;
  }): number {
    const { lastInsertRowid } = this.#db
      .prepare(
        `INSERT INTO parcel(pid, producer, lane, state, sequence, previous, register_version, judged_on, records,
           payload_bytes, created_at)
         VALUES (@pid, @producer, @lane, 'packing', @sequence, @previous, @registerVersion, @judgedOn, @records,
           @payloadBytes, @createdAt)`,
      )
      .run(parcel);
    return Number(lastInsertRowid);
  }

  /** The file is durable; it waits to be judged once more. */
  packed(id: number, file: { bytes: number; sha256: string; subjects: number; provision: Buffer }): void {
    this.#db
      .prepare(
        'UPDATE parcel SET bytes = @bytes, sha256 = @sha256, subjects = @subjects, provision = @provision WHERE id = @id',
      )
      .run({ id, ...file });
  }

  published(id: number, by: { statement: string; at: Instant }): void {
    this.#db
      .prepare(`UPDATE parcel SET state = 'sealed', statement = @statement, published_at = @at WHERE id = @id`)
      .run({ id, ...by });
  }

  /** Notes under which register it was judged last. */
  judged(id: number, registerVersion: number, day: DayJst): void {
    this.#judged.run(registerVersion, day, id);
  }

  /** Notes how much may have left, before it leaves. */
  sending(id: number, upToBytes: number): void {
    this.#sent.run(upToBytes, id);
  }

  move(id: number, state: ParcelState, change: { at?: Instant; reason?: string } = {}): void {
    const ends = state === 'void' || state === 'opened' || state === 'rejected';
    this.#db
      .prepare(
        `UPDATE parcel SET state = ?, reason = coalesce(?, reason),
           stored_at = coalesce(stored_at, CASE WHEN ? THEN ? END), ended_at = CASE WHEN ? THEN ? END WHERE id = ?`,
      )
      .run(
        state,
        change.reason ?? null,
        state === 'stored' ? 1 : 0,
        change.at ?? null,
        ends ? 1 : 0,
        change.at ?? null,
        id,
      );
  }

  lastStoredAt(producer: number): Instant | undefined {
    return this.#lastStored.get(producer)?.at ?? undefined;
  }

  lastReceipt(producer: number): LastReceipt | undefined {
    return this.#lastReceipt.get(producer);
  }

  addReceipt(producer: number, receipt: { sequence: number; jws: string; digest: string; at: Instant }): void {
    this.#db
      .prepare('INSERT INTO receipt VALUES (@producer, @sequence, @jws, @digest, @at)')
      .run({ producer, ...receipt });
  }

  /** All receipts kept of one producer, oldest first: their ledger heads are witnesses. */
  receipts(producer: number): { sequence: number; jws: string }[] {
    return this.#db
      .prepare<[number], { sequence: number; jws: string }>(
        'SELECT sequence, jws FROM receipt WHERE producer = ? ORDER BY sequence',
      )
      .all(producer);
  }
}

/** State a receipt moves a parcel to. */
export const stateAfter: Readonly<Record<Receipt['status'], ParcelState>> = {
  stored: 'stored',
  opened: 'opened',
  rejected: 'rejected',
};
