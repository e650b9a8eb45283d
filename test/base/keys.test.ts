import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHmac, randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Db, openDatabase } from '../../agent/base/database.ts';
import { createSiteKey, keysMigration, KeyRing, readSiteKey } from '../../agent/base/keys.ts';
import { openBox } from '../../agent/base/seal.ts';
import { isError } from '../../agent/model/errors.ts';

let folder: string;
let db: Db;
const siteKey = randomBytes(32);
const broken = expect.toSatisfy((error) => isError(error, 'SEAL_BROKEN'));
const unreadable = expect.toSatisfy((error) => isError(error, 'KEY_UNREADABLE'));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keys-'));
  db = openDatabase(join(folder, 'state.db'), [keysMigration]);
});

afterEach(() => {
  db.close();
  rmSync(folder, { recursive: true });
});

describe('the key ring', () => {
  it('is the same after a restart', () => {
    const first = KeyRing.open(db, siteKey);
    const second = KeyRing.open(db, siteKey);
    expect(second.signing.kid).toBe(first.signing.kid);
    expect(second.index('subject', '0001').equals(first.index('subject', '0001'))).toBe(true);
    expect(second.open('ledger', 'x', first.seal('ledger', 'x', '提供の記録')).toString()).toBe('提供の記録');
  });

  it('is another one in another installation', () => {
    const other = openDatabase(join(folder, 'other.db'), [keysMigration]);
    const [mine, theirs] = [KeyRing.open(db, siteKey), KeyRing.open(other, siteKey)];
    other.close();
    expect(theirs.signing.kid).not.toBe(mine.signing.kid);
    expect(theirs.index('subject', '0001').equals(mine.index('subject', '0001'))).toBe(false);
  });

  it('does not open with another site key, nor when a key of it is lost or exchanged', () => {
    KeyRing.open(db, siteKey);
    expect(() => KeyRing.open(db, randomBytes(32))).toThrow(broken);
    db.exec(
      `UPDATE key_ring SET wrapped = (SELECT wrapped FROM key_ring WHERE name = 'ledger') WHERE name = 'register'`,
    );
    expect(() => KeyRing.open(db, siteKey)).toThrow(broken);
    db.exec(`DELETE FROM key_ring WHERE name = 'register'`);
    expect(() => KeyRing.open(db, siteKey)).toThrow(broken);
  });

  it('gives parts that run into one another different indexes', () => {
    const ring = KeyRing.open(db, siteKey);
    const parts = fc.array(fc.string({ maxLength: 4 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        const same = JSON.stringify(a) === JSON.stringify(b);
        expect(ring.index('record', ...a).equals(ring.index('record', ...b))).toBe(same);
        expect(ring.index('subject', ...a).equals(ring.index('record', ...a))).toBe(false);
      }),
    );
    expect(ring.index('record', 'ab', 'c').equals(ring.index('record', 'a', 'bc'))).toBe(false);
  });

  it('makes its indexes by HMAC-SHA-256, however long the parts are', () => {
    const ring = KeyRing.open(db, siteKey);
    const wrapped = db.prepare<[], Buffer>(`SELECT wrapped FROM key_ring WHERE name = 'index'`).pluck().get();
    const key = openBox(siteKey, 'ring:index', wrapped ?? Buffer.alloc(0));
    const part = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 40 }), fc.uint8Array({ maxLength: 3000 }));
    fc.assert(
      fc.property(fc.constantFrom('alias', 'native'), fc.array(part, { maxLength: 4 }), (domain, parts) => {
        const hmac = createHmac('sha256', key).update(domain);
        for (const bytes of parts.map((each) => Buffer.from(each as Uint8Array))) {
          const length = Buffer.alloc(4);
          length.writeUInt32BE(bytes.length);
          hmac.update(length).update(bytes);
        }
        expect(ring.index(domain, ...parts).equals(hmac.digest().subarray(0, 16))).toBe(true);
      }),
    );
  });

  it('unwraps a payload’s key only for its own seal id', () => {
    const ring = KeyRing.open(db, siteKey);
    const [key, sealId] = [randomBytes(32), randomBytes(16)];
    const wrapped = ring.wrap(key, sealId);
    expect(ring.unwrap(wrapped, sealId).equals(key)).toBe(true);
    expect(() => ring.unwrap(wrapped, randomBytes(16))).toThrow(broken);
    expect(() => ring.open('ledger', `payload:${sealId.toString('hex')}`, wrapped)).toThrow(broken);
  });

  it('does not lie open in the database', () => {
    const ring = KeyRing.open(db, siteKey);
    const seed = ring.signing.privateKey.export({ format: 'der', type: 'pkcs8' }).subarray(-32);
    const rows = db.prepare<[], { wrapped: Buffer }>('SELECT wrapped FROM key_ring').all();
    expect(rows).toHaveLength(4);
    for (const { wrapped } of rows) expect(wrapped.includes(seed)).toBe(false);
  });
});

describe('the site key file', () => {
  it('is written for its owner alone and read back', () => {
    const path = join(folder, 'site.key');
    const key = createSiteKey(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readSiteKey(path).equals(key)).toBe(true);
  });

  it.each([0o640, 0o604, 0o666, 0o610])('is refused when others may read it (mode %o)', (mode) => {
    const path = join(folder, 'site.key');
    createSiteKey(path);
    chmodSync(path, mode);
    expect(() => readSiteKey(path)).toThrow(unreadable);
  });

  it.each(['', 'AAAA', randomBytes(31).toString('base64'), randomBytes(33).toString('base64')])(
    'is refused when it holds %j',
    (text) => {
      const path = join(folder, 'site.key');
      writeFileSync(path, text, { mode: 0o600 });
      expect(() => readSiteKey(path)).toThrow(unreadable);
    },
  );

  it('is refused when it is not there, without showing anything of it', () => {
    expect(() => readSiteKey(join(folder, 'none.key'))).toThrow(unreadable);
  });
});
