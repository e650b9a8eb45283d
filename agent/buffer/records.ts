import type { Db, Statement } from '../base/database.ts';
import type { KeyRing } from '../base/keys.ts';
import { domains, openBytes, openRecord, type SealKey, sealBytes, sealRecord } from '../base/seal.ts';
import type { SubjectId } from '../model/ports.ts';
import type { Instant, Lane, QuarantineReason, RecordFacts } from '../model/record.ts';
import { ridsOf } from './identity.ts';
import type { Spool, Staged } from './spool.ts';

/** Row number of a record; never leaves this installation. */
export type RecordRow = number;

/** What is sealed beside a payload: everything that travels with it and what its packing needs. */
export interface StoredFacts extends RecordFacts {
  readonly sha256: string;
  readonly bodyBytes: number;
  /** Base64 of what stands in front of the body in the parcel. */
  readonly prefix?: string;
}

export interface RecordHead {
  readonly id: RecordRow;
  readonly rid: Buffer;
  readonly source: number;
  readonly subject: SubjectId | null;
  readonly also: SubjectId | null;
  readonly category: RecordFacts['category'];
  readonly lane: Lane;
  readonly bytes: number;
  readonly at: Instant;
  readonly quarantine: QuarantineReason | null;
  readonly isPresent: 0 | 1;
}

/** A record whose payload is present, unsealed. */
interface OpenedRecord {
  readonly head: RecordHead;
  readonly facts: StoredFacts;
  /** In one piece, or as a stream of frames. */
  readonly body: Buffer | AsyncGenerator<Buffer>;
}

interface SealedRow {
  seal_id: Buffer;
  wrapped_key: Buffer | null;
  facts: Buffer | null;
  payload: Buffer | null;
  spool: 0 | 1;
}

/** What a new row says beside the payload. */
export interface NewRecord {
  readonly rid: Buffer;
  readonly source: number;
  readonly native: Buffer;
  readonly version: Buffer | null;
  readonly subject: SubjectId | null;
  readonly also: SubjectId | null;
  readonly facts: RecordFacts;
  readonly at: Instant;
}

const headColumns = `id, rid, source, subject, also, category, lane, bytes, at, quarantine,
  wrapped_key IS NOT NULL AS isPresent`;

/** Record rows: what was taken, sealed. Synchronous, inside the caller's transaction, but for `body`. */
export class Records {
  readonly #keys: KeyRing;
  readonly #spool: Spool;
  readonly #insert: Statement;
  readonly #revive: Statement;
  readonly #byRid: Statement<[Buffer], RecordHead>;
  readonly #byNative: Statement<[Buffer, Buffer, Buffer, Buffer | null, Buffer | null], RecordHead>;
  readonly #lastRow: Statement<[], { id: RecordRow | null }>;
  readonly #head: Statement<[RecordRow], RecordHead>;
  readonly #sealed: Statement<[RecordRow], SealedRow>;
  readonly #whole: Statement<[RecordRow], RecordHead & SealedRow>;
  readonly #destroy: Statement<[RecordRow], unknown>;
  readonly #ofSubject: Statement<[SubjectId, SubjectId], RecordHead>;
  readonly #needed: Statement<[Buffer], unknown>;
  readonly #quarantined: Statement<[RecordRow, number], RecordHead>;
  readonly #quarantinedCount: Statement<[], { n: number }>;
  readonly #presentPage: Statement<[RecordRow, number], { id: RecordRow }>;
  readonly #damaged: Statement<[RecordRow], unknown>;
  readonly #release: Statement<[SubjectId | null, string, RecordRow], unknown>;

  constructor(db: Db, keys: KeyRing, spool: Spool) {
    this.#keys = keys;
    this.#spool = spool;
    this.#insert = db.prepare(
      `INSERT INTO record(rid, source, native, version, subject, also, category, lane, op, bytes, at, quarantine,
         spool, seal_id, wrapped_key, facts, payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#revive = db.prepare(
      `UPDATE record SET subject = ?, also = ?, category = ?, lane = ?, op = ?, bytes = ?, quarantine = ?,
         spool = ?, seal_id = ?, wrapped_key = ?, facts = ?, payload = ? WHERE id = ?`,
    );
    this.#byRid = db.prepare(`SELECT ${headColumns} FROM record WHERE rid = ?`);
    this.#byNative = db.prepare(
      `SELECT ${headColumns} FROM record WHERE rid BETWEEN ? AND ? AND native = ? AND (? IS NULL OR version = ?)`,
    );
    this.#lastRow = db.prepare('SELECT max(id) AS id FROM record');
    this.#head = db.prepare(`SELECT ${headColumns} FROM record WHERE id = ?`);
    this.#sealed = db.prepare('SELECT seal_id, wrapped_key, facts, payload, spool FROM record WHERE id = ?');
    this.#whole = db.prepare(
      `SELECT ${headColumns}, seal_id, wrapped_key, facts, payload, spool FROM record WHERE id = ?`,
    );
    this.#destroy = db.prepare(
      'UPDATE record SET wrapped_key = NULL, facts = NULL, payload = NULL, spool = 0, quarantine = NULL WHERE id = ?',
    );
    this.#ofSubject = db.prepare(
      `SELECT ${headColumns} FROM record WHERE subject = ? UNION SELECT ${headColumns} FROM record WHERE also = ?`,
    );
    this.#needed = db.prepare('SELECT 1 FROM record WHERE spool = 1 AND seal_id = ?');
    this.#quarantined = db.prepare(
      `SELECT ${headColumns} FROM record WHERE quarantine IS NOT NULL AND id > ? ORDER BY id LIMIT ?`,
    );
    this.#quarantinedCount = db.prepare('SELECT count(*) AS n FROM record WHERE quarantine IS NOT NULL');
    this.#presentPage = db.prepare(
      'SELECT id FROM record WHERE id > ? AND id <= ? AND wrapped_key IS NOT NULL ORDER BY id',
    );
    this.#damaged = db.prepare(`UPDATE record SET quarantine = 'DAMAGED' WHERE id = ?`);
    this.#release = db.prepare('UPDATE record SET quarantine = NULL, subject = ?, category = ? WHERE id = ?');
  }

  /** Adds a row. Without `staged` only the tombstone of a refused record: no payload, no facts. */
  insert(record: NewRecord, staged: Staged | undefined): RecordRow {
    const { facts } = record;
    const { lastInsertRowid } = this.#insert.run(
      record.rid,
      record.source,
      record.native,
      record.version,
      record.subject,
      record.also,
      facts.category,
      facts.lane,
      facts.op,
      staged ? payloadBytes(staged) : 0,
      record.at,
      facts.quarantine ?? null,
      ...this.#sealedColumns(facts, staged),
    );
    return Number(lastInsertRowid);
  }

  /** Gives a row whose payload is gone its payload again, as it is understood today: a tombstone knew no size. */
  revive(id: RecordRow, record: Pick<NewRecord, 'subject' | 'also' | 'facts'>, staged: Staged): void {
    const { subject, also, facts } = record;
    const { category, lane, op, quarantine = null } = facts;
    const sealed = this.#sealedColumns(facts, staged);
    this.#revive.run(subject, also, category, lane, op, payloadBytes(staged), quarantine, ...sealed, id);
  }

  #sealedColumns(facts: RecordFacts, staged: Staged | undefined) {
    if (!staged) return [0, Buffer.alloc(0), null, null, null] as const;
    const { seal, wrappedKey, inline, sha256, bodyBytes, prefix } = staged;
    const stored: StoredFacts = {
      ...facts,
      sha256,
      bodyBytes,
      ...(prefix && { prefix: Buffer.from(prefix).toString('base64') }),
    };
    const factBytes = Buffer.from(JSON.stringify(stored));
    if (!inline) return [1, seal.sealId, wrappedKey, sealBytes(seal, factBytes, domains.facts), null] as const;
    return [0, seal.sealId, wrappedKey, null, sealRecord(seal, { facts: factBytes, body: inline })] as const;
  }

  byRid(rid: Buffer): RecordHead | undefined {
    return this.#byRid.get(rid);
  }

  /** The newest record of a native key, and of a version of it where one is given. */
  byNative(native: Buffer, version: Buffer | null): RecordHead | undefined {
    const found = this.#byNative.all(...ridsOf(native), native, version, version);
    return found.reduce<RecordHead | undefined>(
      (newest, head) => (head.id > (newest?.id ?? 0) ? head : newest),
      undefined,
    );
  }

  head(id: RecordRow): RecordHead | undefined {
    return this.#head.get(id);
  }

  /** Row of the newest record; 0 when there is none. */
  lastRow(): RecordRow {
    return this.#lastRow.get()?.id ?? 0;
  }

  /** Every record of one subject, as its own or as the other half of a merge. */
  ofSubject(subject: SubjectId): RecordHead[] {
    return this.#ofSubject.all(subject, subject);
  }

  quarantined(after: RecordRow, limit: number): RecordHead[] {
    return this.#quarantined.all(after, limit);
  }

  quarantinedCount(): number {
    return this.#quarantinedCount.get()?.n ?? 0;
  }

  /** Of this many rows after one, those whose payload is present; for a walk over everything. */
  presentPage(after: RecordRow, count: number): RecordRow[] {
    return this.#presentPage.all(after, after + count).map(({ id }) => id);
  }

  /** Its payload no longer opens; an operator decides. */
  markDamaged(id: RecordRow): void {
    this.#damaged.run(id);
  }

  release(id: RecordRow, subject: SubjectId | null, category: string): void {
    this.#release.run(subject, category, id);
  }

  /** The facts, opened; undefined once destroyed. @throws ConnectorError SEAL_BROKEN */
  facts(id: RecordRow): StoredFacts | undefined {
    const row = this.#sealed.get(id);
    return row?.wrapped_key ? this.#unsealed(row).facts : undefined;
  }

  /** The body, opened, as one buffer or a stream of frames. @throws ConnectorError SEAL_BROKEN */
  body(id: RecordRow): Buffer | AsyncGenerator<Buffer> | undefined {
    const row = this.#sealed.get(id);
    return row?.wrapped_key ? this.#unsealed(row).body : undefined;
  }

  /**
   * Everything of a record at once, for who needs all of it: one row is read, and its key unwrapped once. Undefined
   * once the payload is destroyed.
   *
   * @throws ConnectorError SEAL_BROKEN
   */
  opened(id: RecordRow): OpenedRecord | undefined {
    const row = this.#whole.get(id);
    return row?.wrapped_key ? { head: row, ...this.#unsealed(row) } : undefined;
  }

  #unsealed(row: SealedRow): Pick<OpenedRecord, 'facts' | 'body'> {
    const key = this.#sealKey(row);
    if (row.facts) return { facts: parse(openBytes(key, row.facts, domains.facts)), body: this.#spool.open(key) };
    const { facts, body } = openRecord(key, row.payload as Buffer);
    return { facts: parse(facts), body };
  }

  /**
   * Destroys the payload: its key goes, and with it every copy of the bytes. Returns the seal id of a spool file to be
   * removed after the commit.
   */
  destroy(id: RecordRow): Buffer | undefined {
    const row = this.#sealed.get(id);
    this.#destroy.run(id);
    return row?.spool === 1 ? row.seal_id : undefined;
  }

  isSpoolNeeded(sealId: Buffer): boolean {
    return this.#needed.get(sealId) !== undefined;
  }

  #sealKey(row: SealedRow): SealKey {
    return { key: this.#keys.unwrap(row.wrapped_key as Buffer, row.seal_id), sealId: row.seal_id };
  }
}

function parse(facts: Buffer): StoredFacts {
  return JSON.parse(facts.toString());
}

/** As in the parcel: with the prefix. */
export function payloadBytes({ bodyBytes, prefix }: Pick<Staged, 'bodyBytes' | 'prefix'>): number {
  return bodyBytes + (prefix?.length ?? 0);
}
