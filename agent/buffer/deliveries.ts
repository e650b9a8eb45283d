import type { Db, Statement } from '../base/database.ts';
import type { HoldReason, SubjectId } from '../model/ports.ts';
import type { Instant, Lane } from '../model/record.ts';
import type { RecordRow } from './records.ts';

export const deliveryStates = [
  'held',
  'ready',
  'packed',
  'stored',
  'opened',
  'stopped',
  'refused',
  'expired',
  'rejected',
] as const;
export type DeliveryState = (typeof deliveryStates)[number];

const payloadStates: ReadonlySet<DeliveryState> = new Set(['held', 'ready', 'packed', 'stored', 'rejected']);

/**
 * Whether the payload must stay for this delivery: until it was opened, and when the producer could not open it until
 * a person has decided. One that was retracted will not be sent again.
 */
export function needsPayload({ state, reason }: Pick<Delivery, 'state' | 'reason'>): boolean {
  return payloadStates.has(state) && reason !== retracted;
}

/** Reason of a delivery that arrived, or may have, and was taken back; it is taken back once. */
export const retracted = 'retracted';

const parcelStates: ReadonlySet<DeliveryState> = new Set(['packed', 'stored', 'opened', 'rejected', 'stopped']);

export interface Delivery {
  readonly record: RecordRow;
  readonly producer: number;
  readonly state: DeliveryState;
  readonly lane: Lane;
  readonly bytes: number;
  readonly until: Instant | null;
  readonly reason: string | null;
  readonly parcel: number | null;
}

export type NewDelivery = Omit<Delivery, 'parcel'>;

export interface DeliveryPair {
  readonly record: RecordRow;
  readonly producer: number;
}

/** A delivery as it is judged: what the gate must be asked about. */
export interface JudgedDelivery extends DeliveryPair {
  readonly state: DeliveryState;
  readonly subject: SubjectId | null;
  readonly also: SubjectId | null;
  readonly category: string;
}

export interface Tally {
  readonly producer: number;
  readonly source: number;
  readonly lane: Lane;
  readonly state: DeliveryState;
  readonly n: number;
  readonly bytes: number;
}

/** Delivery rows: one record's way to one producer. Synchronous, inside the caller's transaction. */
export class Deliveries {
  readonly #add: Statement;
  readonly #renew: Statement;
  readonly #count: Statement;
  readonly #of: Statement<[RecordRow], Delivery>;
  readonly #get: Statement<[RecordRow, number], Delivery>;
  readonly #move: Statement;
  readonly #bind: Statement;
  readonly #ready: Statement<[number, Lane], { record: RecordRow; bytes: number }>;
  readonly #ofParcel: Statement<[number], Delivery>;
  readonly #judged: Statement<[number], JudgedDelivery>;
  readonly #held: Statement<[RecordRow, number], JudgedDelivery>;
  readonly #readyPage: Statement<[RecordRow, number], JudgedDelivery>;
  readonly #expired: Statement<[Instant, number], DeliveryPair & { until: Instant }>;
  readonly #tally: Statement<[], Tally>;
  readonly #heldTally: Statement<[], { reason: HoldReason; n: number }>;
  readonly #firstUntil: Statement<[], { until: Instant }>;
  readonly #reviveRejected: Statement<[number], unknown>;
  readonly #oldest: Statement<[number, Lane], { at: Instant }>;

  constructor(db: Db) {
    const columns = 'record, producer, state, lane, bytes, until, reason, parcel';
    this.#add = db.prepare(`INSERT INTO delivery(${columns}) VALUES (?, ?, ?, ?, ?, ?, ?, NULL)`);
    this.#renew = db.prepare(
      `UPDATE delivery SET state = ?, bytes = ?, until = ?, reason = ?, parcel = NULL WHERE record = ? AND producer = ?`,
    );
    this.#count = db.prepare(
      `INSERT INTO tally(producer, source, lane, state, n, bytes) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET n = n + excluded.n, bytes = bytes + excluded.bytes`,
    );
    this.#of = db.prepare(`SELECT ${columns} FROM delivery WHERE record = ?`);
    this.#get = db.prepare(`SELECT ${columns} FROM delivery WHERE record = ? AND producer = ?`);
    this.#move = db.prepare(
      'UPDATE delivery SET state = ?, reason = ?, parcel = CASE WHEN ? THEN parcel END WHERE record = ? AND producer = ?',
    );
    // One statement for all of them: 500 take 3 ms of CPU, and one for each took 4.6.
    this.#bind = db.prepare(
      `UPDATE delivery SET state = 'packed', parcel = ?
       WHERE producer = ? AND lane = ? AND state = 'ready' AND record <= ?`,
    );
    this.#ready = db.prepare(
      `SELECT record, bytes FROM delivery WHERE producer = ? AND lane = ? AND state = 'ready' ORDER BY record`,
    );
    this.#ofParcel = db.prepare(`SELECT ${columns} FROM delivery WHERE parcel = ? ORDER BY record`);
    const judged = `delivery.record, delivery.producer, delivery.state, record.subject, record.also, record.category
      FROM delivery JOIN record ON record.id = delivery.record`;
    this.#judged = db.prepare(`SELECT ${judged} WHERE delivery.parcel = ? ORDER BY delivery.record`);
    this.#held = db.prepare(
      `SELECT ${judged} WHERE delivery.state = 'held' AND delivery.record > ? ORDER BY delivery.record LIMIT ?`,
    );
    this.#readyPage = db.prepare(
      `SELECT ${judged} WHERE delivery.state = 'ready' AND delivery.record > ? ORDER BY delivery.record LIMIT ?`,
    );
    this.#expired = db.prepare(
      `SELECT record, producer, until FROM delivery WHERE state = 'held' AND until <= ? ORDER BY until LIMIT ?`,
    );
    this.#tally = db.prepare('SELECT producer, source, lane, state, n, bytes FROM tally WHERE n > 0');
    this.#heldTally = db.prepare('SELECT reason, n FROM held_tally WHERE n > 0');
    this.#firstUntil = db.prepare(`SELECT until FROM delivery WHERE state = 'held' ORDER BY until LIMIT 1`);
    this.#reviveRejected = db.prepare(
      `UPDATE delivery SET state = 'ready', reason = NULL, parcel = NULL
       WHERE producer = ? AND state = 'rejected' AND reason = 'rejected'`,
    );
    this.#oldest = db.prepare(
      `SELECT record.at FROM delivery JOIN record ON record.id = delivery.record
       WHERE delivery.producer = ? AND delivery.lane = ? AND delivery.state = 'ready' ORDER BY delivery.record LIMIT 1`,
    );
  }

  /** Adds a delivery; whoever does has it counted in the same transaction, on a `TallySheet`. */
  add({ record, producer, state, lane, bytes, until, reason }: NewDelivery): void {
    this.#add.run(record, producer, state, lane, bytes, until, reason);
  }

  /** Holds a delivery, or begins an ended one anew. */
  renew({ record, producer, state, bytes, until, reason }: Omit<NewDelivery, 'lane'>): void {
    this.#renew.run(state, bytes, until, reason, record, producer);
  }

  /** Adds to the counts; see `TallySheet`. */
  count({ producer, source, lane, state, n, bytes }: Tally): void {
    this.#count.run(producer, source, lane, state, n, bytes);
  }

  of(record: RecordRow): Delivery[] {
    return this.#of.all(record);
  }

  get({ record, producer }: DeliveryPair): Delivery | undefined {
    return this.#get.get(record, producer);
  }

  /**
   * Moves to another state. The parcel is remembered where the state speaks of one, and by a stopped delivery: should
   * its parcel turn out to have arrived, it is retracted.
   */
  move({ record, producer }: DeliveryPair, state: DeliveryState, reason: string | null = null): void {
    this.#move.run(state, reason, parcelStates.has(state) ? 1 : 0, record, producer);
  }

  /** Binds the ready deliveries of one lane, up to a record, to a parcel. Returns how many. */
  bind(from: { producer: number; lane: Lane; upTo: RecordRow }, parcel: number): number {
    return this.#bind.run(parcel, from.producer, from.lane, from.upTo).changes;
  }

  /** Ready deliveries of one lane, oldest first. Not kept open across an await: read what is needed and stop. */
  ready(producer: number, lane: Lane): IterableIterator<{ record: RecordRow; bytes: number }> {
    return this.#ready.iterate(producer, lane);
  }

  ofParcel(parcel: number): Delivery[] {
    return this.#ofParcel.all(parcel);
  }

  judgedOfParcel(parcel: number): JudgedDelivery[] {
    return this.#judged.all(parcel);
  }

  /** Held (or ready) deliveries after a record, for a sweep in slices. */
  page(state: 'held' | 'ready', after: RecordRow, limit: number): JudgedDelivery[] {
    return (state === 'held' ? this.#held : this.#readyPage).all(after, limit);
  }

  expired(now: Instant, limit: number): DeliveryPair[] {
    return this.#expired.all(now, limit);
  }

  tally(): Tally[] {
    return this.#tally.all();
  }

  heldTally(): { reason: HoldReason; n: number }[] {
    return this.#heldTally.all();
  }

  /** When the first of what is held will be destroyed, if it still may not leave by then. */
  firstUntil(): Instant | undefined {
    return this.#firstUntil.get()?.until;
  }

  /** What a producer could not open may be packed for it again. */
  reviveRejected(producer: number): number {
    return this.#reviveRejected.run(producer).changes;
  }

  /** When the oldest ready record of a lane was taken. */
  oldestReadyAt(producer: number, lane: Lane): Instant | undefined {
    return this.#oldest.get(producer, lane)?.at;
  }
}
