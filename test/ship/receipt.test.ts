import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { newSigningKey, signJws } from '../../agent/base/jws.ts';
import { ConnectorError } from '../../agent/model/errors.ts';
import { jwsTypes, type Receipt, type RetractionReceipt } from '../../agent/model/wire.ts';
import {
  digestOf,
  type ExpectedReceipt,
  readReceiptKeys,
  verifyReceipt,
  verifyRetractionReceipt,
} from '../../agent/ship/receipt.ts';

const key = newSigningKey();
const keys = [newSigningKey().publicJwk, key.publicJwk];
const sha256 = 'ab'.repeat(32);
const previousReceipt = 'cd'.repeat(32);
const parcel = { parcelId: 'P-1', sequence: 3, sha256, bytes: 1000 };
const receipt: Receipt = {
  v: 1,
  status: 'stored',
  producer: 'ldi',
  agent: '1312345670',
  parcelId: 'P-1',
  sequence: 3,
  sha256,
  bytes: 1000,
  receiptSequence: 8,
  previousReceipt,
  ledgerHead: { seq: 12, hash: 'ef'.repeat(32) },
  at: '2026-11-23T23:00:00+09:00',
};
const expected: ExpectedReceipt = {
  producer: 'ldi',
  agent: '1312345670',
  parcel: (parcelId) => (parcelId === parcel.parcelId ? parcel : undefined),
  lastReceipt: { sequence: 7, digest: previousReceipt },
};
const sign = (body: object, typ: string = jwsTypes.receipt) => signJws(key, typ, body);

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'none';
  } catch (error) {
    return error instanceof ConnectorError ? error.code : String(error);
  }
}

const verifyCode = (jws: string, change: Partial<ExpectedReceipt> = {}) =>
  codeOf(() => verifyReceipt({ jws, keys, expected: { ...expected, ...change } }));

describe('a receipt', () => {
  it('in which everything fits is believed, with or without what is optional', () => {
    expect(verifyReceipt({ jws: sign(receipt), keys, expected })).toEqual(receipt);
    const opened = { ...receipt, status: 'opened', entries: 5 };
    expect(verifyReceipt({ jws: sign(opened), keys, expected })).toEqual(opened);
    const { previousReceipt: _, ...first } = { ...receipt, receiptSequence: 1 };
    expect(verifyCode(sign(first), { lastReceipt: undefined })).toBe('none');
  });

  it.each<[string, object, string]>([
    ['of another digest', { sha256: '00'.repeat(32) }, 'RECEIPT_WRONG_DIGEST'],
    ['of another length', { bytes: 999 }, 'RECEIPT_WRONG_DIGEST'],
    ['of another parcel sequence', { sequence: 4 }, 'RECEIPT_WRONG_SEQUENCE'],
    ['of a parcel never sent', { parcelId: 'P-2' }, 'RECEIPT_NOT_OURS'],
    ['of another producer', { producer: 'other' }, 'RECEIPT_NOT_OURS'],
    ['for another hospital', { agent: '1300000000' }, 'RECEIPT_NOT_OURS'],
    ['that skips one', { receiptSequence: 9 }, 'RECEIPT_CHAIN_BROKEN'],
    ['that comes again', { receiptSequence: 7 }, 'RECEIPT_CHAIN_BROKEN'],
    ['after another one than ours', { previousReceipt: '11'.repeat(32) }, 'RECEIPT_CHAIN_BROKEN'],
    ['of an unknown status', { status: 'fine' }, 'RECEIPT_MALFORMED'],
    ['of a later version', { v: 2 }, 'RECEIPT_MALFORMED'],
    ['without a digest', { sha256: undefined }, 'RECEIPT_MALFORMED'],
    ['with text for a reason', { reason: '架橋 太郎' }, 'RECEIPT_MALFORMED'],
  ])('%s is refused', (_what, change, code) => {
    expect(verifyCode(sign({ ...receipt, ...change }))).toBe(code);
  });

  it('that claims to be the first when there were others is refused', () => {
    const { previousReceipt: _, ...first } = { ...receipt, receiptSequence: 1 };
    expect(verifyCode(sign(first))).toBe('RECEIPT_CHAIN_BROKEN');
  });

  it('signed by another key, or of another kind, is refused', () => {
    expect(verifyCode(signJws(newSigningKey(), jwsTypes.receipt, receipt))).toBe('RECEIPT_WRONG_KEY');
    expect(verifyCode(sign(receipt, jwsTypes.hello))).toBe('RECEIPT_WRONG_KEY');
  });

  it('with one character changed is refused, wherever it is', () => {
    const jws = sign(receipt);
    fc.assert(
      fc.property(fc.nat(jws.length - 1), fc.constantFrom('A', 'z', '0', '.', '%'), (position, character) => {
        const changed = jws.slice(0, position) + character + jws.slice(position + 1);
        // The last character of a part may differ in bits that base64 does not use.
        fc.pre(Buffer.from(changed, 'base64url').compare(Buffer.from(jws, 'base64url')) !== 0);
        const decoded = changed.split('.').map((part) => Buffer.from(part, 'base64url').toString('hex'));
        fc.pre(
          decoded.join('.') !==
            jws
              .split('.')
              .map((part) => Buffer.from(part, 'base64url').toString('hex'))
              .join('.'),
        );
        expect(verifyCode(changed)).toMatch(/^RECEIPT_(MALFORMED|WRONG_KEY)$/);
      }),
    );
  });

  it('that is not a JWS at all is malformed', () => {
    for (const jws of ['', 'a', 'a.b', '<html>', `a.${'b'.repeat(70_000)}.c`])
      expect(verifyCode(jws)).toBe('RECEIPT_MALFORMED');
  });
});

describe('a receipt of a retraction', () => {
  const retraction = 'aGVhZA.cmV0cmFjdGlvbg.c2ln';
  const body: RetractionReceipt = {
    v: 1,
    producer: 'ldi',
    agent: '1312345670',
    retractionId: 'R-1',
    sha256: digestOf(retraction),
    at: '2026-11-23T23:00:00Z',
  };
  const verify = (change: object, signer = key) => {
    const jws = signJws(signer, jwsTypes.retractionReceipt, { ...body, ...change });
    const wanted = { producer: 'ldi', agent: '1312345670', retractionId: 'R-1', sha256: digestOf(retraction) };
    return verifyRetractionReceipt({ jws, keys, expected: wanted });
  };

  it('in which everything fits is believed', () => {
    expect(verify({})).toEqual(body);
  });

  it.each<[object, string]>([
    [{ retractionId: 'R-2' }, 'RECEIPT_NOT_OURS'],
    [{ producer: 'other' }, 'RECEIPT_NOT_OURS'],
    [{ sha256 }, 'RECEIPT_WRONG_DIGEST'],
    [{ at: 'yesterday' }, 'RECEIPT_MALFORMED'],
  ])('with %o is refused', (change, code) => {
    expect(codeOf(() => verify(change))).toBe(code);
  });

  it('signed by another key is refused', () => {
    expect(codeOf(() => verify({}, newSigningKey()))).toBe('RECEIPT_WRONG_KEY');
  });
});

describe('the file of receipt keys', () => {
  it('is read when it holds Ed25519 keys and nothing else', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'kakehashi-keys-'));
    const path = join(folder, 'receipt.jwks');
    const load = async (text: string) => {
      await writeFile(path, text);
      return readReceiptKeys(path).catch((error: unknown) => (error instanceof ConnectorError ? error.code : error));
    };
    const { publicJwk } = key;
    expect(await load(JSON.stringify({ keys: [{ ...publicJwk, kid: key.kid, use: 'sig' }] }))).toEqual([publicJwk]);
    const many = { keys: Array.from({ length: 33 }, () => publicJwk) };
    const secret = { keys: [{ kty: 'oct', k: 'c2VjcmV0' }] };
    for (const wrong of ['', 'null', '{"keys":[]}', JSON.stringify(secret), JSON.stringify(many), ' '.repeat(70_000)]) {
      expect(await load(wrong)).toBe('RECEIPT_KEYS_INVALID');
    }
    await rm(folder, { recursive: true });
    await expect(readReceiptKeys(path)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });
});
