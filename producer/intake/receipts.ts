/**
 * The receipts: one for ever per (parcel, status), in one chain per hospital. A receipt is committed before anyone is
 * told of it, so the same question always has the same answer, byte for byte.
 */
import assert from 'node:assert';
import { createHash } from 'node:crypto';
import { type Db, inTransaction, type Statement } from '../../agent/base/database.ts';
import { isoJst } from '../../agent/base/clock.ts';
import { peekJws, type SigningKey, signJws } from '../../agent/base/jws.ts';
import type { Clock } from '../../agent/model/ports.ts';
import { jwsTypes, type ParcelStatement, type Receipt, type ReceiptStatus } from '../../agent/model/wire.ts';
import { statementSchema } from '../../agent/parcel/manifest.ts';

/** A page of the feed: with receipts of 0.8 kB, less than half a megabyte. */
const pageReceipts = 500;

export type Verdict =
  | { readonly status: 'stored' }
  | { readonly status: 'opened'; readonly entries: number }
  | { readonly status: 'rejected'; readonly reason: string };

export class Receipts {
  readonly #db: Db;
  readonly #producer: string;
  readonly #signing: SigningKey;
  readonly #clock: Clock;
  readonly #find: Statement<[string, string, string], { jws: string }>;
  readonly #last: Statement<[string], { receiptSequence: number; jws: string }>;
  readonly #insert: Statement<[string, number, string, string, string]>;
  readonly #after: Statement<[string, number, number], { jws: string }>;

  constructor(db: Db, options: { producer: string; signing: SigningKey; clock: Clock }) {
    this.#db = db;
    this.#producer = options.producer;
    this.#signing = options.signing;
    this.#clock = options.clock;
    this.#find = db.prepare('SELECT jws FROM receipt WHERE agent = ? AND parcel_id = ? AND status = ?');
    this.#last = db.prepare(`SELECT receipt_sequence AS receiptSequence, jws FROM receipt
      WHERE agent = ? ORDER BY receipt_sequence DESC LIMIT 1`);
    this.#insert = db.prepare('INSERT INTO receipt VALUES (?, ?, ?, ?, ?)');
    this.#after = db.prepare(
      'SELECT jws FROM receipt WHERE agent = ? AND receipt_sequence > ? ORDER BY receipt_sequence LIMIT ?',
    );
  }

  /** The receipt of this status, made now if there is none. Harmless inside the caller's transaction. */
  issue(statement: ParcelStatement, verdict: Verdict): string {
    return inTransaction(this.#db, () => {
      const { agent, parcelId } = statement;
      const known = this.find(agent, parcelId, verdict.status);
      if (known) return known;
      const last = this.#last.get(agent);
      const receipt = this.#compose(statement, verdict, last);
      const jws = signJws(this.#signing, jwsTypes.receipt, receipt);
      this.#insert.run(agent, receipt.receiptSequence, parcelId, verdict.status, jws);
      return jws;
    });
  }

  find(agent: string, parcelId: string, status: ReceiptStatus): string | undefined {
    return this.#find.get(agent, parcelId, status)?.jws;
  }

  /** The next receipts of one hospital, in order. */
  after(agent: string, receiptSequence: number): string[] {
    return this.#after.all(agent, receiptSequence, pageReceipts).map(({ jws }) => jws);
  }

  #compose(statement: ParcelStatement, verdict: Verdict, last?: { receiptSequence: number; jws: string }): Receipt {
    return {
      ...receiptBody(statement, { producer: this.#producer, verdict, at: isoJst(this.#clock.now()) }),
      receiptSequence: (last?.receiptSequence ?? 0) + 1,
      ...(last ? { previousReceipt: createHash('sha256').update(last.jws).digest('hex') } : {}),
    };
  }
}

/** All of a receipt but its place in the chain. */
export function receiptBody(
  statement: Pick<ParcelStatement, 'agent' | 'parcelId' | 'sequence' | 'sha256' | 'bytes' | 'ledgerHead'>,
  options: { producer: string; verdict: Verdict; at: string },
): Omit<Receipt, 'receiptSequence' | 'previousReceipt'> {
  const { agent, parcelId, sequence, sha256, bytes, ledgerHead } = statement;
  const { producer, verdict, at } = options;
  return { v: 1, producer, agent, parcelId, sequence, sha256, bytes, ledgerHead, at, ...verdict };
}

/** The statement of a parcel that was accepted: its signature was checked when it came in. */
export function acceptedStatement(jws: string | null): ParcelStatement {
  assert(jws !== null, 'only a tombstone has no statement');
  return statementSchema.parse(peekJws(jws));
}
