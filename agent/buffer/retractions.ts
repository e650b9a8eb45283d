import { randomUUID } from 'node:crypto';
import type { Db, Statement } from '../base/database.ts';
import type { KeyRing } from '../base/keys.ts';
import type { SubjectId } from '../model/ports.ts';
import type { Instant } from '../model/record.ts';
import type { RetractionDetail } from '../model/wire.ts';

export interface OpenRetraction {
  readonly id: string;
  readonly at: Instant;
  /** The signed message, once there was a first attempt to send it. */
  readonly jws: string | null;
}

/** Stops that concern what a producer already has; open until the producer has acknowledged them. Synchronous. */
export class Retractions {
  readonly #keys: KeyRing;
  readonly #insert: Statement;
  readonly #open: Statement<[number], OpenRetraction>;
  readonly #sealed: Statement<[string], { sealed: Buffer }>;
  readonly #sign: Statement<[string, string], unknown>;
  readonly #acknowledge: Statement<[Instant, string, string], unknown>;
  readonly #count: Statement<[], { open: number; acknowledged: number; oldest: Instant | null }>;

  constructor(db: Db, keys: KeyRing) {
    this.#keys = keys;
    this.#insert = db.prepare('INSERT INTO retraction(id, producer, subject, sealed, at) VALUES (?, ?, ?, ?, ?)');
    this.#open = db.prepare(
      'SELECT id, at, jws FROM retraction WHERE producer = ? AND acknowledged_at IS NULL ORDER BY at',
    );
    this.#sealed = db.prepare('SELECT sealed FROM retraction WHERE id = ?');
    this.#sign = db.prepare('UPDATE retraction SET jws = ? WHERE id = ? AND jws IS NULL');
    this.#acknowledge = db.prepare('UPDATE retraction SET acknowledged_at = ?, receipt = ? WHERE id = ?');
    this.#count = db.prepare(
      `SELECT count(*) FILTER (WHERE acknowledged_at IS NULL) AS open, count(acknowledged_at) AS acknowledged,
         min(at) FILTER (WHERE acknowledged_at IS NULL) AS oldest FROM retraction`,
    );
  }

  add(to: { producer: number; subject: SubjectId; at: Instant }, detail: RetractionDetail): string {
    const id = randomUUID();
    const sealed = this.#keys.seal('register', `retraction:${id}`, JSON.stringify(detail));
    this.#insert.run(id, to.producer, to.subject, sealed, to.at);
    return id;
  }

  open(producer: number): OpenRetraction[] {
    return this.#open.all(producer);
  }

  detail(id: string): RetractionDetail {
    const sealed = this.#sealed.get(id)?.sealed ?? Buffer.alloc(0);
    return JSON.parse(this.#keys.open('register', `retraction:${id}`, sealed).toString());
  }

  /** Keeps the first signed form; a repeat sends the same text. */
  sign(id: string, jws: string): void {
    this.#sign.run(jws, id);
  }

  acknowledge(id: string, receipt: string, at: Instant): void {
    this.#acknowledge.run(at, receipt, id);
  }

  count(): { open: number; acknowledged: number; oldest: Instant | null } {
    return this.#count.get() ?? { open: 0, acknowledged: 0, oldest: null };
  }
}
