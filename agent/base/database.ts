import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import Database from 'better-sqlite3';
import { ConnectorError, reasonOf } from '../model/errors.ts';

/**
 * Each part brings the tables that are its own, as forward-only steps. A step is never edited after a release: what
 * it made is in hospitals.
 */
export interface Migration {
  readonly part: string;
  /** One SQL text a version, the first is version 1. */
  readonly steps: readonly string[];
}

export type Db = Database.Database;
export type Statement<Params extends unknown[] = unknown[], Row = unknown> = Database.Statement<Params, Row>;

/**
 * The only place that opens a database. better-sqlite3 is compiled with DEFAULT_WAL_SYNCHRONOUS=1: without the pragma
 * below a write-ahead log silently runs at NORMAL, and what was acknowledged may vanish in a power cut. So it is set
 * *and read back* on every connection.
 *
 * @throws ConnectorError STATE_UNSAFE, STATE_NEWER
 */
export function openDatabase(path: string, migrations: readonly Migration[]): Db {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  let db: Db | undefined;
  try {
    db = new Database(path);
    setPragmas(db);
    migrate(db, migrations);
    assertPragmas(db, path);
    return db;
  } catch (cause) {
    db?.close();
    if (cause instanceof ConnectorError) throw cause;
    // SQLite's own words: SQLITE_NOTADB, SQLITE_CORRUPT, SQLITE_CANTOPEN, SQLITE_FULL.
    throw new ConnectorError('STATE_UNSAFE', { path, problem: reasonOf(cause) }, { cause });
  }
}

function setPragmas(db: Db): void {
  // Before the first table: page size and vacuum mode cannot change later without rewriting the file.
  db.pragma('page_size = 8192');
  db.pragma('auto_vacuum = INCREMENTAL');
  db.pragma('journal_mode = WAL');
  db.pragma('synchronous = FULL');
  db.pragma('foreign_keys = ON');
  db.pragma('trusted_schema = OFF');
  // A deleted row's key must not stay readable in a free page: crypto-shredding rests on it.
  db.pragma('secure_delete = ON');
  db.pragma('busy_timeout = 5000');
}

const expected = { synchronous: 2, journal_mode: 'wal', auto_vacuum: 2, foreign_keys: 1, secure_delete: 1 } as const;

function assertPragmas(db: Db, path: string): void {
  for (const [name, value] of Object.entries(expected)) {
    const found = db.pragma(name, { simple: true });
    if (found !== value) {
      throw new ConnectorError('STATE_UNSAFE', { path, problem: `${name} is ${String(found)}, not ${value}` });
    }
  }
  const loose = db
    .prepare<[], { name: string }>(
      `SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0 AND name NOT LIKE 'sqlite_%'`,
    )
    .all();
  if (loose.length > 0) {
    throw new ConnectorError('STATE_UNSAFE', { path, problem: `table ${loose[0]?.name} is not STRICT` });
  }
}

function migrate(db: Db, migrations: readonly Migration[]): void {
  db.exec(
    'CREATE TABLE IF NOT EXISTS migration(part TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT, WITHOUT ROWID',
  );
  const current = db.prepare<[string], { version: number }>('SELECT version FROM migration WHERE part = ?');
  const record = db.prepare('INSERT INTO migration VALUES (?, ?) ON CONFLICT DO UPDATE SET version = excluded.version');
  db.transaction(() => {
    for (const { part, steps } of migrations) {
      const found = current.get(part)?.version ?? 0;
      if (found > steps.length) throw new ConnectorError('STATE_NEWER', { part, found, known: steps.length });
      for (const step of steps.slice(found)) db.exec(step);
      record.run(part, steps.length);
    }
  }).immediate();
}

/** Runs `work` in one IMMEDIATE transaction. It must not await: the callback's type refuses a promise. */
export function inTransaction<T>(db: Db, work: () => T extends Promise<unknown> ? never : T): T {
  return db.transaction(work).immediate();
}
