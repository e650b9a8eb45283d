import type { Db, Migration } from '../base/database.ts';
import type { Instant } from '../model/record.ts';

/**
 * What is due, what ran and what was missed. One row a job; times are milliseconds since the epoch by the wall clock as
 * it stood. `last_code` is `ok`, `running`, `stopped`, `window` or an error code.
 */
export const scheduleMigration: Migration = {
  part: 'schedule',
  steps: [
    `CREATE TABLE schedule(
      name TEXT PRIMARY KEY,
      last_due INTEGER,
      last_started INTEGER,
      last_ok INTEGER,
      last_code TEXT,
      missed INTEGER NOT NULL,
      paused INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID`,
  ],
};

export interface JobRow {
  lastDue: Instant | undefined;
  lastStarted: Instant | undefined;
  lastOk: Instant | undefined;
  lastCode: string | undefined;
  /** Slots that never ran, since the job is known. */
  missed: number;
  isPaused: boolean;
}

interface StoredRow {
  readonly last_due: number | null;
  readonly last_started: number | null;
  readonly last_ok: number | null;
  readonly last_code: string | null;
  readonly missed: number;
  readonly paused: number;
}

export class JobRows {
  readonly #read;
  readonly #write;

  constructor(db: Db) {
    this.#read = db.prepare<[string], StoredRow>('SELECT * FROM schedule WHERE name = ?');
    this.#write = db.prepare(
      `INSERT INTO schedule VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET last_due = excluded.last_due,
       last_started = excluded.last_started, last_ok = excluded.last_ok, last_code = excluded.last_code,
       missed = excluded.missed, paused = excluded.paused`,
    );
  }

  read(name: string): JobRow {
    const row = this.#read.get(name);
    return {
      lastDue: row?.last_due ?? undefined,
      lastStarted: row?.last_started ?? undefined,
      lastOk: row?.last_ok ?? undefined,
      lastCode: row?.last_code ?? undefined,
      missed: row?.missed ?? 0,
      isPaused: row?.paused === 1,
    };
  }

  write(name: string, row: JobRow): void {
    this.#write.run(
      name,
      row.lastDue ?? null,
      row.lastStarted ?? null,
      row.lastOk ?? null,
      row.lastCode ?? null,
      row.missed,
      row.isPaused ? 1 : 0,
    );
  }
}
