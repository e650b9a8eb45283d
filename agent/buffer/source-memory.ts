import type { Db, Statement } from '../base/database.ts';
import type { KeyRing } from '../base/keys.ts';
import type { GapNote, StateChange } from '../model/ports.ts';
import type { Instant } from '../model/record.ts';

export interface Gap {
  readonly id: number;
  readonly source: number;
  readonly code: GapNote['code'];
  readonly at: Instant;
}

/** What sources remember between runs and what they could not take. Synchronous. */
export class SourceMemory {
  readonly #keys: KeyRing;
  readonly #get: Statement<[number, string, Buffer], { sealed: Buffer; mark: number }>;
  readonly #page: Statement<[number, string, number, number], { key: Buffer; sealed: Buffer; mark: number }>;
  readonly #put: Statement;
  readonly #delete: Statement;
  readonly #addGap: Statement;
  readonly #closeGap: Statement;
  readonly #gaps: Statement<[number], Gap>;
  readonly #gapReferences: Statement<[number, number], { sealed: Buffer }>;
  readonly #gapCount: Statement<[], { n: number }>;

  constructor(db: Db, keys: KeyRing) {
    this.#keys = keys;
    this.#get = db.prepare('SELECT sealed, mark FROM source_state WHERE source = ? AND kind = ? AND key = ?');
    this.#page = db.prepare(
      'SELECT key, sealed, mark FROM source_state WHERE source = ? AND kind = ? AND mark < ? ORDER BY mark LIMIT ?',
    );
    this.#put = db.prepare(
      `INSERT INTO source_state VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET mark = excluded.mark, sealed = excluded.sealed`,
    );
    this.#delete = db.prepare('DELETE FROM source_state WHERE source = ? AND kind = ? AND key = ?');
    this.#addGap = db.prepare('INSERT OR IGNORE INTO gap(source, code, reference, sealed, at) VALUES (?, ?, ?, ?, ?)');
    this.#closeGap = db.prepare(
      'UPDATE gap SET closed_at = ? WHERE source = ? AND reference = ? AND closed_at IS NULL',
    );
    this.#gaps = db.prepare('SELECT id, source, code, at FROM gap WHERE closed_at IS NULL ORDER BY id LIMIT ?');
    this.#gapReferences = db.prepare(
      'SELECT sealed FROM gap WHERE source = ? AND closed_at IS NULL ORDER BY id LIMIT ?',
    );
    this.#gapCount = db.prepare('SELECT count(*) AS n FROM gap WHERE closed_at IS NULL');
  }

  get(source: number, kind: string, key: string): { value: Uint8Array; mark: number } | undefined {
    const hmac = this.#hmac(source, kind, key);
    const row = this.#get.get(source, kind, hmac);
    return row && { value: this.#open(kind, row.sealed), mark: row.mark };
  }

  page(source: number, kind: string, below: number, limit: number): { value: Uint8Array; mark: number }[] {
    return this.#page
      .all(source, kind, below, limit)
      .map(({ sealed, mark }) => ({ value: this.#open(kind, sealed), mark }));
  }

  apply(source: number, { kind, key, value, mark = 0 }: StateChange): void {
    const hmac = this.#hmac(source, kind, key);
    if (value === undefined) this.#delete.run(source, kind, hmac);
    else this.#put.run(source, kind, hmac, mark, this.#keys.seal('register', `state:${kind}`, value));
  }

  addGap(source: number, { code, reference }: GapNote, at: Instant): void {
    const sealed = this.#keys.seal('register', 'gap', reference);
    this.#addGap.run(source, code, this.#hmac(source, 'gap', reference), sealed, at);
  }

  closeGap(source: number, reference: string, at: Instant): void {
    this.#closeGap.run(at, source, this.#hmac(source, 'gap', reference));
  }

  gaps(limit: number): Gap[] {
    return this.#gaps.all(limit);
  }

  /** What a source noted to fetch again, oldest first. */
  gapReferences(source: number, limit: number): string[] {
    return this.#gapReferences
      .all(source, limit)
      .map(({ sealed }) => this.#keys.open('register', 'gap', sealed).toString());
  }

  gapCount(): number {
    return this.#gapCount.get()?.n ?? 0;
  }

  #hmac(source: number, kind: string, key: string): Buffer {
    return this.#keys.index(`state:${kind}`, String(source), key);
  }

  #open(kind: string, sealed: Buffer): Buffer {
    return this.#keys.open('register', `state:${kind}`, sealed);
  }
}
