/**
 * One process owns the state folder. The lock is SQLite's exclusive lock on a file that holds nothing: the operating
 * system takes it back however the process ends, so there is no stale pid file to judge, on Linux and on Windows.
 *
 * Nothing else in this process may open `lock.sqlite`: on POSIX, closing any handle of a file drops its locks.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { ConnectorError } from '../model/errors.ts';

export interface StateLock {
  /** Harmless twice. */
  release(): void;
}

const lockFile = 'lock.sqlite';

/** Locks held by this process. A connection nobody refers to is closed by the garbage collector, and its lock with it. */
const held = new Set<Database.Database>();

/**
 * Does not wait: whoever is second is told at once.
 *
 * @throws ConnectorError STATE_LOCKED
 */
export function acquireLock(stateDir: string): StateLock {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const db = new Database(join(stateDir, lockFile), { timeout: 0 });
  try {
    db.pragma('locking_mode = EXCLUSIVE');
    // A journal in memory: nothing is ever written, and a crash leaves no second file behind.
    db.pragma('journal_mode = MEMORY');
    db.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    db.close();
    if (!isBusy(cause)) throw cause;
    throw new ConnectorError('STATE_LOCKED', { path: stateDir }, { cause });
  }
  held.add(db);
  return {
    release: () => {
      held.delete(db);
      db.close();
    },
  };
}

function isBusy(error: unknown): boolean {
  return error instanceof Database.SqliteError && error.code.startsWith('SQLITE_BUSY');
}
