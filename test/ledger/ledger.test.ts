import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Ledger, merkleRoot } from '../../agent/ledger/ledger.ts';
import { Flow } from '../flow/harness.ts';

let flow: Flow;
let ledger: Ledger;
beforeEach(() => {
  flow = new Flow();
  ledger = flow.store.ledger;
});
afterEach(() => flow.remove());

function write(count: number): void {
  flow.store.db.transaction(() => {
    for (let index = 1; index <= count; index++) ledger.append('notice', 1_000 + index, { index });
  })();
}

/** Does what an attacker with the file can do. */
function tamper(sql: string): void {
  flow.store.db.exec(`DROP TRIGGER ledger_no_update; DROP TRIGGER ledger_no_delete; ${sql}`);
}

describe('the ledger', () => {
  it('verifies from nothing on, and gives back what was written in order', () => {
    expect(ledger.verify()).toEqual({ seq: 0, hash: '0'.repeat(64) });
    write(1_203);
    expect(ledger.verify()).toEqual(ledger.head());
    expect([...ledger.entries()].map(({ body }) => body['index'])).toEqual(
      Array.from({ length: 1_203 }, (_, i) => i + 1),
    );
    expect([...ledger.entries(1_200)].map(({ seq }) => seq)).toEqual([1_201, 1_202, 1_203]);
  });

  it('refuses a change and a removal, by SQL too', () => {
    write(1);
    expect(() => flow.store.db.exec('UPDATE ledger SET at = 0')).toThrow('append-only');
    expect(() => flow.store.db.exec('DELETE FROM ledger')).toThrow('append-only');
  });

  it.each([
    ['an altered time', 'UPDATE ledger SET at = at + 1 WHERE seq = 3', 3],
    ['an altered kind', "UPDATE ledger SET kind = 'stop' WHERE seq = 3", 3],
    ['an altered body', "UPDATE ledger SET sealed = x'00' WHERE seq = 3", 3],
    ['an altered digest', "UPDATE ledger SET hash = x'00' WHERE seq = 3", 3],
    [
      'a body moved from another entry',
      'UPDATE ledger SET sealed = (SELECT sealed FROM ledger WHERE seq = 4) WHERE seq = 3',
      3,
    ],
    ['a removed entry', 'DELETE FROM ledger WHERE seq = 3', 3],
    ['a removed first entry', 'DELETE FROM ledger WHERE seq = 1', 1],
    [
      'two entries that changed places',
      'UPDATE ledger SET seq = -3 WHERE seq = 3; UPDATE ledger SET seq = 3 WHERE seq = 4; UPDATE ledger SET seq = 4 WHERE seq = -3',
      3,
    ],
    [
      'a removed entry whose followers moved up',
      'DELETE FROM ledger WHERE seq = 3; UPDATE ledger SET seq = seq - 1 WHERE seq > 3',
      3,
    ],
  ])('finds %s', (_, sql, seq) => {
    write(6);
    tamper(sql);
    expect(() => ledger.verify()).toThrow(
      expect.objectContaining({ code: 'LEDGER_BROKEN', details: expect.objectContaining({ seq }) }),
    );
  });

  it('finds any byte of any row that was altered', () => {
    write(5);
    const pristine = flow.store.db.prepare<[], Record<string, Buffer | number>>('SELECT * FROM ledger').all();
    tamper('');
    const put = flow.store.db.prepare('UPDATE ledger SET sealed = ?, hash = ? WHERE seq = ?');
    const flip = fc.record({
      row: fc.nat(4),
      column: fc.constantFrom('sealed', 'hash'),
      at: fc.nat(10_000),
      bit: fc.nat(7),
    });
    fc.assert(
      fc.property(flip, ({ row, column, at, bit }) => {
        const found = pristine[row] as { seq: number; sealed: Buffer; hash: Buffer };
        const bytes = { sealed: Buffer.from(found.sealed), hash: Buffer.from(found.hash) };
        const altered = column === 'sealed' ? bytes.sealed : bytes.hash;
        const offset = at % altered.length;
        altered[offset] = (altered[offset] ?? 0) ^ (1 << bit);
        put.run(bytes.sealed, bytes.hash, found.seq);
        try {
          expect(() => ledger.verify()).toThrow(expect.objectContaining({ code: 'LEDGER_BROKEN' }));
        } finally {
          put.run(found.sealed, found.hash, found.seq);
        }
      }),
    );
    expect(ledger.verify()).toEqual(ledger.head());
  });

  it('finds an entry altered by somebody who gave it a fitting digest of its own', () => {
    write(6);
    const { previous, at, kind } = flow.store.db
      .prepare<[], { previous: Buffer; at: number; kind: string }>(
        'SELECT before.hash AS previous, entry.at, entry.kind FROM ledger AS entry JOIN ledger AS before ON before.seq = 2 WHERE entry.seq = 3',
      )
      .get() ?? { previous: Buffer.alloc(0), at: 0, kind: '' };
    const sealed = Buffer.from('another body');
    const numbers = Buffer.alloc(18);
    numbers.writeBigUInt64BE(3n, 0);
    numbers.writeBigUInt64BE(BigInt(at), 8);
    numbers.writeUInt16BE(kind.length, 16);
    const body = createHash('sha256').update(sealed).digest();
    const parts = [Buffer.from('kakehashi-ledger-1'), previous, numbers, Buffer.from(kind), body];
    const hash = createHash('sha256').update(Buffer.concat(parts)).digest();
    tamper('');
    flow.store.db.prepare('UPDATE ledger SET sealed = ?, hash = ? WHERE seq = 3').run(sealed, hash);
    const details = expect.objectContaining({ seq: 4 });
    expect(() => ledger.verify()).toThrow(expect.objectContaining({ code: 'LEDGER_BROKEN', details }));
  });

  it('that was cut off at its end, or written anew, differs from what a producer has witnessed', () => {
    write(6);
    const witnessed = ledger.head();
    tamper('DELETE FROM ledger WHERE seq = 6');
    expect(ledger.verify()).toMatchObject({ seq: 5 });
    expect(() => ledger.verify([witnessed])).toThrow(expect.objectContaining({ code: 'LEDGER_BROKEN' }));
    ledger.append('notice', 9, { index: 6 });
    expect(() => ledger.verify([witnessed])).toThrow(expect.objectContaining({ code: 'LEDGER_BROKEN' }));
    expect(() => ledger.verify([ledger.head(), { seq: 0, hash: '0'.repeat(64) }])).not.toThrow();
  });

  it('can be verified without the key, and read only with it', () => {
    write(1);
    const rows = JSON.stringify(flow.store.db.prepare('SELECT * FROM ledger').all());
    expect(rows).not.toContain('index');
    expect(ledger.verify().seq).toBe(1);
  });
});

describe('the Merkle root', () => {
  const hash = (...parts: readonly (string | Uint8Array)[]) => {
    const digest = createHash('sha256');
    for (const part of parts) digest.update(part);
    return digest.digest();
  };
  const leaf = (text: string) => hash(Buffer.of(0), text);
  const node = (left: Buffer, right: Buffer) => hash(Buffer.of(1), left, right);
  const of = (...texts: readonly string[]) => merkleRoot(texts.map((text) => Buffer.from(text)));

  it('is the one of RFC 6962 for nothing, one, three and seven leaves', () => {
    expect(of()).toBe(hash('').toString('hex'));
    expect(of('a')).toBe(leaf('a').toString('hex'));
    expect(of('a', 'b', 'c')).toBe(node(node(leaf('a'), leaf('b')), leaf('c')).toString('hex'));
    const left = node(node(leaf('a'), leaf('b')), node(leaf('c'), leaf('d')));
    const right = node(node(leaf('e'), leaf('f')), leaf('g'));
    expect(of('a', 'b', 'c', 'd', 'e', 'f', 'g')).toBe(node(left, right).toString('hex'));
  });

  it('tells any two lists of records apart', () => {
    const ids = fc.array(fc.stringMatching(/^[0-9a-f]{4}$/), { maxLength: 9 });
    fc.assert(
      fc.property(ids, ids, (a, b) => {
        expect(of(...a) === of(...b)).toBe(JSON.stringify(a) === JSON.stringify(b));
      }),
    );
  });
});

describe('the key ring', () => {
  it('gives the same name to the same thing after a restart, and different ones where parts run together', () => {
    const name = () => flow.store.keys.index('record', 'ab', 'c').toString('hex');
    const first = name();
    expect(first).not.toBe(flow.store.keys.index('record', 'a', 'bc').toString('hex'));
    expect(first).not.toBe(flow.store.keys.index('native', 'ab', 'c').toString('hex'));
    flow = flow.reopen();
    expect(name()).toBe(first);
  });

  it('signs with the same key after a restart', () => {
    const { kid } = flow.store.keys.signing;
    flow = flow.reopen();
    expect(flow.store.keys.signing.kid).toBe(kid);
  });
});
