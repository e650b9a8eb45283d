import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { calculateJwkThumbprint, CompactSign, compactVerify, importJWK } from 'jose';
import { describe, expect, it } from 'vitest';
import { newSigningKey, peekJws, signingKeyFromSeed, signJws, thumbprint, verifyJws } from '../../agent/base/jws.ts';
import { isError } from '../../agent/model/errors.ts';

const typ = 'kakehashi-receipt+jws';
const refused = expect.toSatisfy((error) => isError(error, 'SIGNATURE_INVALID'));
const anyBody = fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 8, noNullPrototype: true });

const key = newSigningKey();
const trusted = [key.publicJwk];

/** A JWS with any header, signed by jose. */
async function joseSign(header: object, body: string | Uint8Array): Promise<string> {
  const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
  return new CompactSign(bytes).setProtectedHeader({ alg: 'EdDSA', ...header }).sign(key.privateKey);
}

describe('a signed statement', () => {
  it('is verified by jose when we sign, and by us when jose signs', async () => {
    const publicKey = await importJWK({ ...key.publicJwk }, 'EdDSA');
    await fc.assert(
      fc.asyncProperty(anyBody, async (body) => {
        const json: unknown = JSON.parse(JSON.stringify(body));
        const ours = signJws(key, typ, body);
        const { payload, protectedHeader } = await compactVerify(ours, publicKey, { algorithms: ['EdDSA'] });
        expect(JSON.parse(new TextDecoder().decode(payload))).toEqual(json);
        expect(protectedHeader).toEqual({ alg: 'EdDSA', kid: key.kid, typ });
        expect(verifyJws(trusted, typ, await joseSign({ kid: key.kid, typ }, JSON.stringify(body)))).toEqual(json);
        expect(peekJws(ours)).toEqual(json);
      }),
      { numRuns: 50 },
    );
  });

  it('names its key by the thumbprint jose computes', async () => {
    expect(key.kid).toBe(await calculateJwkThumbprint({ ...key.publicJwk }));
    expect(thumbprint(key.publicJwk)).toBe(key.kid);
  });

  it('is refused when any one of its characters is another, added or taken away', () => {
    const jws = signJws(key, typ, { v: 1, status: 'stored', bytes: 1_234 });
    const alphabet = 'ABCDabcd0189-_.=+/ \n!é'.split('');
    fc.assert(
      fc.property(fc.nat(jws.length - 1), fc.constantFrom(...alphabet), fc.constantFrom(0, 1), (at, char, taken) => {
        const changed = jws.slice(0, at) + char + jws.slice(at + taken);
        fc.pre(changed !== jws);
        expect(() => verifyJws(trusted, typ, changed)).toThrow(refused);
        expect(() => verifyJws(trusted, typ, jws.slice(0, at) + jws.slice(at + 1))).toThrow(refused);
      }),
      { numRuns: 500 },
    );
  });

  it('has only one text: the unused bits of its last character count too', () => {
    const jws = signJws(key, typ, { v: 1 });
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
    const last = alphabet.indexOf(jws.at(-1) ?? '');
    // 64 bytes leave four bits unused, which a lenient decoder does not look at.
    expect(() => verifyJws(trusted, typ, jws.slice(0, -1) + alphabet[last ^ 1])).toThrow(refused);
  });

  it('is refused by another key, as another type, with another algorithm or an unknown demand', async () => {
    const jws = signJws(key, typ, { v: 1 });
    expect(() => verifyJws([newSigningKey().publicJwk], typ, jws)).toThrow(refused);
    expect(() => verifyJws([], typ, jws)).toThrow(refused);
    expect(() => verifyJws(trusted, 'kakehashi-parcel+jws', jws)).toThrow(refused);
    const head = (header: object) => Buffer.from(JSON.stringify(header)).toString('base64url');
    const [, body, signature] = jws.split('.');
    for (const alg of ['none', 'HS256', 'eddsa', 'ES256', undefined]) {
      expect(() => verifyJws(trusted, typ, `${head({ alg, kid: key.kid, typ })}.${body}.${signature}`)).toThrow(
        refused,
      );
    }
    const critical = await new CompactSign(new TextEncoder().encode('{}'))
      .setProtectedHeader({ alg: 'EdDSA', kid: key.kid, typ, crit: ['exp'], exp: 1 })
      .sign(key.privateKey, { crit: { exp: true } });
    expect(() => verifyJws(trusted, typ, critical)).toThrow(refused);
  });

  it('is refused without a look when it is larger than any of ours', async () => {
    const jws = signJws(key, typ, { filler: 'x'.repeat(64 * 1024) });
    expect(() => verifyJws(trusted, typ, jws)).toThrow(refused);
    expect(() => peekJws(jws)).toThrow(refused);
  });

  it('is refused, and nothing else, when it is any other text', async () => {
    const text = fc.oneof(
      fc.string(),
      fc.array(fc.base64String(), { minLength: 3, maxLength: 3 }).map((parts) => parts.join('.')),
    );
    fc.assert(
      fc.property(text, (jws) => {
        expect(() => verifyJws(trusted, typ, jws)).toThrow(refused);
      }),
    );
    for (const body of ['not json', '"text"', 'null', '3']) {
      const jws = await joseSign({ kid: key.kid, typ }, body);
      expect(() => verifyJws(trusted, typ, jws), body).toThrow(refused);
    }
  });
});

describe('a key from a seed', () => {
  it('is the same each time, and the one jose makes of the seed', async () => {
    const seed = randomBytes(32);
    const [one, two] = [signingKeyFromSeed(seed), signingKeyFromSeed(seed)];
    expect(one.kid).toBe(two.kid);
    const jwk = { ...one.publicJwk, d: seed.toString('base64url') };
    const jws = await new CompactSign(new TextEncoder().encode('{"v":1}'))
      .setProtectedHeader({ alg: 'EdDSA', kid: one.kid, typ })
      .sign(await importJWK(jwk, 'EdDSA'));
    expect(verifyJws([two.publicJwk], typ, jws)).toEqual({ v: 1 });
    expect(signJws(one, typ, { v: 1 })).toBe(signJws(two, typ, { v: 1 }));
  });
});
