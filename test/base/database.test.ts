import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inTransaction, openDatabase } from '../../agent/base/database.ts';
import { isError } from '../../agent/model/errors.ts';

let folder: string;
let path: string;
const unsafe = expect.toSatisfy((error) => isError(error, 'STATE_UNSAFE'));
const strict = 'CREATE TABLE a(id INTEGER PRIMARY KEY, text TEXT) STRICT';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'database-'));
  path = join(folder, 'deep', 'state.db');
});

afterEach(() => rmSync(folder, { recursive: true }));

describe('the opener', () => {
  it('gives every connection synchronous=FULL, which better-sqlite3 alone does not', () => {
    const plain = new Database(join(folder, 'plain.db'));
    plain.pragma('journal_mode = WAL');
    plain.close();
    const again = new Database(join(folder, 'plain.db'));
    again.exec('CREATE TABLE x(a)');
    // The reason the opener exists: once in WAL mode, what the library opens by itself is NORMAL.
    expect(again.pragma('synchronous', { simple: true })).toBe(1);
    again.close();
    for (let connection = 0; connection < 3; connection++) {
      const db = openDatabase(path, [{ part: 'a', steps: [strict] }]);
      db.prepare('INSERT INTO a(text) VALUES (?)').run('x');
      expect(db.pragma('synchronous', { simple: true })).toBe(2);
      expect(db.pragma('journal_mode', { simple: true })).toBe('wal');
      expect(db.pragma('secure_delete', { simple: true })).toBe(1);
      expect(db.pragma('foreign_keys', { simple: true })).toBe(1);
      db.close();
    }
  });

  it('refuses a database that cannot keep a write-ahead log', () => {
    expect(() => openDatabase(':memory:', [])).toThrow(unsafe);
  });

  it('refuses a database made elsewhere, whose free pages were never given back', () => {
    const foreign = new Database(join(folder, 'foreign.db'));
    foreign.exec(strict);
    foreign.close();
    expect(() => openDatabase(join(folder, 'foreign.db'), [])).toThrow(unsafe);
  });

  it('refuses a table that is not STRICT, and names it', () => {
    const loose = { part: 'a', steps: ['CREATE TABLE loose(id INTEGER PRIMARY KEY)'] };
    expect(() => openDatabase(path, [loose])).toThrow(/table loose is not STRICT/);
    expect(() => openDatabase(path, [loose])).toThrow(unsafe);
  });

  it('refuses what is not a database, or cannot be opened', () => {
    writeFileSync(join(folder, 'text.db'), 'this is not a database, and long enough to be looked at by SQLite');
    expect(() => openDatabase(join(folder, 'text.db'), [])).toThrow(unsafe);
    expect(() => openDatabase(folder, [])).toThrow(unsafe);
  });

  it('removes deleted bytes from the file', () => {
    const db = openDatabase(path, [{ part: 'a', steps: [strict] }]);
    const secret = 'wrapped-key-of-a-patient';
    for (let row = 0; row < 50; row++) db.prepare('INSERT INTO a(text) VALUES (?)').run(`${secret}${row}`);
    db.pragma('wal_checkpoint(TRUNCATE)');
    db.exec('DELETE FROM a');
    db.pragma('wal_checkpoint(TRUNCATE)');
    expect(db.serialize().includes(secret)).toBe(false);
    db.close();
  });
});

describe('migrations', () => {
  const second = `ALTER TABLE a ADD COLUMN more TEXT`;

  it('run once, in order, and keep what is there', () => {
    openDatabase(path, [{ part: 'a', steps: [strict] }]).close();
    const db = openDatabase(path, [{ part: 'a', steps: [strict, second] }]);
    db.prepare('INSERT INTO a(text, more) VALUES (?, ?)').run('x', 'y');
    db.close();
    const again = openDatabase(path, [{ part: 'a', steps: [strict, second] }]);
    expect(again.prepare('SELECT more FROM a').all()).toEqual([{ more: 'y' }]);
    again.close();
  });

  it('refuse a database of a newer version, and leave it as it was', () => {
    openDatabase(path, [{ part: 'a', steps: [strict, second] }]).close();
    expect(() => openDatabase(path, [{ part: 'a', steps: [strict] }])).toThrow(
      expect.toSatisfy((error) => isError(error, 'STATE_NEWER')),
    );
    openDatabase(path, [{ part: 'a', steps: [strict, second] }]).close();
  });

  it('happen together or not at all', () => {
    const parts = [
      { part: 'a', steps: [strict] },
      { part: 'b', steps: ['CREATE TABLE b(id INTEGER PRIMARY KEY) STRICT', 'CREATE nonsense'] },
    ];
    expect(() => openDatabase(path, parts)).toThrow(unsafe);
    const db = openDatabase(path, []);
    expect(db.prepare(`SELECT name FROM sqlite_schema WHERE name IN ('a', 'b')`).all()).toEqual([]);
    expect(db.prepare('SELECT * FROM migration').all()).toEqual([]);
    db.close();
  });
});

describe('a transaction', () => {
  it('undoes everything when its work throws', () => {
    const db = openDatabase(path, [{ part: 'a', steps: [strict] }]);
    const insert = db.prepare('INSERT INTO a(text) VALUES (?)');
    const work = () =>
      inTransaction(db, () => {
        insert.run('x');
        throw new Error('stop');
      });
    expect(work).toThrow('stop');
    expect(inTransaction(db, () => insert.run('y').changes)).toBe(1);
    expect(db.prepare('SELECT text FROM a').all()).toEqual([{ text: 'y' }]);
    db.close();
  });

  it('does not take work that awaits', () => {
    const db = openDatabase(path, [{ part: 'a', steps: [strict] }]);
    // @ts-expect-error - the type refuses a promise
    expect(() => inTransaction(db, async () => Promise.resolve(1))).toThrow('promise');
    db.close();
  });
});
