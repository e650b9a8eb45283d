import { createHash } from 'node:crypto';
import type { Db, Migration, Statement } from '../base/database.ts';
import type { KeyRing } from '../base/keys.ts';
import { ConnectorError } from '../model/errors.ts';
import type { Instant } from '../model/record.ts';
import type { LedgerHead } from '../model/wire.ts';

/**
 * What the ledger speaks of. Bodies are small; what is many (the records of a parcel) enters as a Merkle root, so that
 * 50,000 images a day do not swell it.
 */
export type LedgerKind =
  | 'init'
  | 'start'
  | 'config'
  | 'notice-version'
  | 'filing'
  | 'notice'
  | 'stop'
  | 'withdraw'
  | 'import'
  | 'unblock'
  | 'merge'
  | 'publish'
  | 'void'
  | 'provision'
  | 'opened'
  | 'rejected'
  | 'retraction'
  | 'retraction-acknowledged'
  | 'expired'
  | 'quarantine'
  | 'backup'
  | 'restore'
  | 'pause'
  | 'resume';

export interface LedgerEntry {
  readonly seq: number;
  readonly at: Instant;
  readonly kind: LedgerKind;
  readonly body: Readonly<Record<string, unknown>>;
}

/**
 * ```
 * hash(0) = 32 zero bytes
 * hash(n) = SHA-256( "kakehashi-ledger-1" || hash(n-1) || n (8, big endian) || at (8, big endian, ms)
 *                    || kind length (2) || kind || SHA-256(sealed body) )
 * ```
 * The chain runs over the sealed body, so whoever holds only the file can verify it; reading it takes the ledger key.
 */
export const ledgerMigration: Migration = {
  part: 'ledger',
  steps: [
    `CREATE TABLE ledger(
       seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, sealed BLOB NOT NULL, hash BLOB NOT NULL
     ) STRICT;
     CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
     CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
     -- One list a parcel that was stored: what left, of whom, why. Outlives every purge (Art. 54).
     CREATE TABLE provision(
       parcel TEXT PRIMARY KEY, seq INTEGER NOT NULL, sealed BLOB NOT NULL
     ) STRICT, WITHOUT ROWID;`,
  ],
};

interface Row {
  seq: number;
  at: Instant;
  kind: LedgerKind;
  sealed: Buffer;
  hash: Buffer;
}

const zero = Buffer.alloc(32);

/** Append-only, hash-chained: the record of provision (提供の記録) and of every act on the connector. */
export class Ledger {
  readonly #keys: KeyRing;
  readonly #last: Statement<[], { seq: number; hash: Buffer }>;
  readonly #append: Statement<[number, Instant, string, Buffer, Buffer], unknown>;
  readonly #page: Statement<[number, number], Row>;
  readonly #addProvision: Statement<[string, number, Buffer], unknown>;
  readonly #provision: Statement<[string], { sealed: Buffer }>;
  readonly #hashAt: Statement<[number], { hash: Buffer }>;

  constructor(db: Db, keys: KeyRing) {
    this.#keys = keys;
    this.#last = db.prepare('SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1');
    this.#append = db.prepare('INSERT INTO ledger VALUES (?, ?, ?, ?, ?)');
    this.#page = db.prepare('SELECT seq, at, kind, sealed, hash FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?');
    this.#addProvision = db.prepare('INSERT INTO provision VALUES (?, ?, ?)');
    this.#provision = db.prepare('SELECT sealed FROM provision WHERE parcel = ?');
    this.#hashAt = db.prepare('SELECT hash FROM ledger WHERE seq = ?');
  }

  /** Adds one entry inside the caller's transaction. Returns the new head. */
  append(kind: LedgerKind, at: Instant, body: Readonly<Record<string, unknown>>): LedgerHead {
    const last = this.#last.get();
    const seq = (last?.seq ?? 0) + 1;
    const sealed = this.#keys.seal('ledger', `ledger:${seq}`, JSON.stringify(body));
    const hash = chain(last?.hash ?? zero, { seq, at, kind, sealed });
    this.#append.run(seq, at, kind, sealed, hash);
    return { seq, hash: hash.toString('hex') };
  }

  head(): LedgerHead {
    const last = this.#last.get();
    return { seq: last?.seq ?? 0, hash: (last?.hash ?? zero).toString('hex') };
  }

  /** Entries after `after`, opened, oldest first; read in pages so that no read transaction stays open. */
  *entries(after = 0): Generator<LedgerEntry> {
    for (let from = after; ; ) {
      const page = this.#page.all(from, 500);
      for (const { seq, at, kind, sealed } of page) {
        yield { seq, at, kind, body: JSON.parse(this.#keys.open('ledger', `ledger:${seq}`, sealed).toString()) };
      }
      const last = page.at(-1);
      if (!last) return;
      from = last.seq;
    }
  }

  /** Keeps the list of what a stored parcel held. `sealed` was made by `sealProvision` when the parcel was published. */
  addProvision(parcelId: string, seq: number, sealed: Buffer): void {
    this.#addProvision.run(parcelId, seq, sealed);
  }

  sealProvision(parcelId: string, list: Uint8Array): Buffer {
    return this.#keys.seal('ledger', `provision:${parcelId}`, list);
  }

  openProvision(parcelId: string): Buffer | undefined {
    const row = this.#provision.get(parcelId);
    return row && this.#keys.open('ledger', `provision:${parcelId}`, row.sealed);
  }

  /**
   * Walks the whole chain, then holds it against what others witnessed (heads inside receipts).
   *
   * @throws ConnectorError LEDGER_BROKEN naming the first entry that does not fit.
   */
  verify(witnessed: readonly LedgerHead[] = []): LedgerHead {
    let previous: Buffer = zero;
    let seq = 0;
    for (;;) {
      const page = this.#page.all(seq, 500);
      for (const row of page) {
        if (row.seq !== seq + 1) throw new ConnectorError('LEDGER_BROKEN', { seq: seq + 1, problem: 'it is missing' });
        if (!chain(previous, row).equals(row.hash)) {
          throw new ConnectorError('LEDGER_BROKEN', { seq: row.seq, problem: 'its hash does not follow' });
        }
        previous = row.hash;
        seq = row.seq;
      }
      if (page.length === 0) break;
    }
    for (const head of witnessed) this.#confirm(head);
    return { seq, hash: previous.toString('hex') };
  }

  #confirm({ seq, hash }: LedgerHead): void {
    const found = seq === 0 ? zero : this.#hashAt.get(seq)?.hash;
    if (found?.toString('hex') !== hash) {
      throw new ConnectorError('LEDGER_BROKEN', { seq, problem: 'a producer witnessed another head there' });
    }
  }
}

function chain(previous: Buffer, { seq, at, kind, sealed }: Omit<Row, 'hash'>): Buffer {
  const numbers = Buffer.alloc(18);
  numbers.writeBigUInt64BE(BigInt(seq), 0);
  numbers.writeBigUInt64BE(BigInt(at), 8);
  numbers.writeUInt16BE(Buffer.byteLength(kind), 16);
  const body = createHash('sha256').update(sealed).digest();
  return createHash('sha256')
    .update('kakehashi-ledger-1')
    .update(previous)
    .update(numbers)
    .update(kind)
    .update(body)
    .digest();
}

/** Merkle root (RFC 6962 hashing: 0x00 before a leaf, 0x01 before a node) over record ids in parcel order. */
export function merkleRoot(leaves: readonly Uint8Array[]): string {
  let level: Buffer[] = leaves.map((leaf) => createHash('sha256').update(Buffer.of(0)).update(leaf).digest());
  if (level.length === 0) return createHash('sha256').digest('hex');
  while (level.length > 1) {
    level = Array.from({ length: Math.ceil(level.length / 2) }, (_, index) => {
      const [left, right] = [level[2 * index] as Buffer, level[2 * index + 1]];
      return right ? createHash('sha256').update(Buffer.of(1)).update(left).update(right).digest() : left;
    });
  }
  return (level[0] as Buffer).toString('hex');
}
