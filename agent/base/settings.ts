import type { Db, Migration } from './database.ts';

export const settingsMigration: Migration = {
  part: 'settings',
  steps: ['CREATE TABLE setting(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID'],
};

/** Few small values of the installation itself: its epoch, what is paused. Nothing of a patient, nothing secret. */
export type SettingName = 'epoch' | 'paused' | 'confirm-shipping' | 'last-backup' | 'backup-folder';

export class Settings {
  readonly #db: Db;

  constructor(db: Db) {
    this.#db = db;
  }

  get(name: SettingName): string | undefined {
    return this.#db.prepare<[string], { value: string }>('SELECT value FROM setting WHERE name = ?').get(name)?.value;
  }

  set(name: SettingName, value: string): void {
    this.#db
      .prepare('INSERT INTO setting VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value')
      .run(name, value);
  }

  remove(name: SettingName): void {
    this.#db.prepare('DELETE FROM setting WHERE name = ?').run(name);
  }
}
