import type { Db } from '../base/database.ts';

/** A configured name and its row number. Names stay in the database when they leave the configuration. */
export class Names {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  /**
   * The number of a source. `succeeds` names the source this one replaces: they then share the lineage that record
   * ids are made from, so that a replaced PACS does not ship everything again.
   */
  source(name: string, succeeds?: string): { id: number; lineage: string } {
    const find = this.#db.prepare<[string], { id: number; lineage: string }>(
      'SELECT id, lineage FROM source WHERE name = ?',
    );
    const found = find.get(name);
    if (found) return found;
    const lineage = (succeeds && find.get(succeeds)?.lineage) ?? succeeds ?? name;
    const { lastInsertRowid } = this.#db.prepare('INSERT INTO source(name, lineage) VALUES (?, ?)').run(name, lineage);
    return { id: Number(lastInsertRowid), lineage };
  }

  producer(name: string): number {
    this.#db.prepare('INSERT OR IGNORE INTO producer(name) VALUES (?)').run(name);
    return this.#db.prepare<[string], { id: number }>('SELECT id FROM producer WHERE name = ?').get(name)?.id as number;
  }

  sources(): Map<number, string> {
    return this.#all('source');
  }

  producers(): Map<number, string> {
    return this.#all('producer');
  }

  #all(table: 'source' | 'producer'): Map<number, string> {
    const rows = this.#db.prepare<[], { id: number; name: string }>(`SELECT id, name FROM ${table} ORDER BY id`).all();
    return new Map(rows.map(({ id, name }) => [id, name]));
  }
}
